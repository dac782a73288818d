"""Distilled students are more robust to corruptions than those from labels.

Often said and seldom measured: the soft targets of a smoother function would carry over how it
behaves near the images. Corruptions are five kinds of Hendrycks, Dietterich (2019,
https://arxiv.org/abs/1903.12261) in five severities. The cells are those of `calibration.py`.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/corruptions.py
    uv run kd table experiments/claims/corruptions.py:smoke
"""

from configs.claims import experiment

METRICS = {"on corrupted images": "corrupted", "on clean images": "accuracy"}
CELLS = {"32 units": dict(net="32"), "100 x 100 units": dict(net="100x100")}


def get_experiment(arg=None):
    rows = {
        "from labels": dict(budget=1),
        "distilled, one teacher each": dict(args=dict(chain="200x200"), budget=1),
        "distilled, the ensemble": dict(args=dict(chain="200x200", together=True), budget=1),
    }
    hypotheses = {
        f"{column}: more accurate on corrupted images": dict(
            of=f"on corrupted images: distilled, one teacher each, {column}",
            minus=f"on corrupted images: from labels, {column}",
            expected="greater",
        )
        for column in CELLS
    }
    hypotheses |= {
        f"{column}: and gains more there than on clean ones": dict(
            of=f"on corrupted images: distilled, one teacher each, {column}",
            minus={
                f"on corrupted images: from labels, {column}": 1,
                f"on clean images: distilled, one teacher each, {column}": 1,
                f"on clean images: from labels, {column}": -1,
            },
            expected="greater",
        )
        for column in CELLS
    }
    return experiment(
        arg,
        title="Distilled students are more robust to corruptions",
        args=dict(T=2.0),
        claim=dict(
            sentence=(
                "A distilled student is more accurate on corrupted images than one from labels, "
                "and the difference is larger than on clean images"
            ),
            paper="often said; corruptions of Hendrycks, Dietterich 2019",
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
