"""Distilled students are better calibrated than those from labels.

Among others Müller, Kornblith, Hinton 2019 (https://arxiv.org/abs/1906.02629) and Stanton et al.
2021 (https://arxiv.org/abs/2106.05945, section 4), who report calibration beside accuracy. The
student is calibrated as its teacher is, so that a teacher from hard labels may pass its certainty
on.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/calibration.py
    uv run kd table experiments/claims/calibration.py:smoke
"""

from configs.claims import experiment

METRICS = {"calibration error": "ece", "log loss": "nll", "accuracy": "accuracy"}
CELLS = {"32 units": dict(net="32"), "100 x 100 units": dict(net="100x100")}


def get_experiment(arg=None):
    rows = {
        "from labels": dict(budget=1),
        "distilled, one teacher each": dict(args=dict(chain="200x200"), budget=1),
        "distilled, the ensemble": dict(args=dict(chain="200x200", together=True), budget=1),
    }
    hypotheses = {
        f"{column}: less {name}": dict(
            of=f"{title}: distilled, one teacher each, {column}",
            minus=f"{title}: from labels, {column}",
            expected="less",
        )
        for column in CELLS
        for title, name in (
            ("calibration error", "calibration error"),
            ("log loss", "log loss"),
        )
    }
    return experiment(
        arg,
        title="Distilled students are better calibrated",
        args=dict(T=2.0),
        claim=dict(
            sentence=(
                "A distilled student has a lower calibration error and log loss than the same "
                "network trained on labels"
            ),
            paper="often expected; Müller et al. 2019 and Stanton et al. 2021 report calibration",
            on=(
                "Fashion-MNIST, 6,000 training images; teachers of two hidden layers of 200 units, "
                "a student of 32 and one of two layers of 100; T = 2, weight of the labels 0.1; "
                "each student one teacher"
            ),
            hypotheses=hypotheses,
        ),
        tables=[
            dict(
                title=title,
                metric=metric,
                columns={name: dict(args=args) for name, args in CELLS.items()},
                rows=rows,
            )
            for title, metric in METRICS.items()
        ],
    )
