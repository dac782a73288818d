"""Settings that Hinton, Vinyals, Dean 2015, section 3, leave open, chosen on held-out images.

A tenth of the training images is evaluated in place of the test set.

    uv run kd prepare mnist
    uv run kd table experiments/hinton2015_choices.py

`configs/hinton2015_mnist.py` has the settings that were chosen. Two seeds in one program. Budgets
are minutes on two CPU cores.
"""

RATES = (3e-4, 1e-3)
HARD = (0.0, 0.1, 0.5, 0.8, 0.9, 0.95)
"""Weights of the labels; the rest is on the teacher's outputs at T = 20."""

EARLIER = dict(drop=0.2)
"""The teacher before its dropout of inputs was chosen; these tables show students of it."""


def get_experiment(arg=None):
    if arg not in (None, "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke or nothing.")
    smoke = arg == "smoke"
    return dict(
        title=(
            "MNIST, what was chosen for the table of Hinton et al. 2015 on held-out training "
            "images (ours)"
        ),
        note="In miniature: these numbers mean nothing." if smoke else "",
        config="configs/hinton2015_mnist.py",
        args=dict(holdout=0.1, **(dict(smoke=True) if smoke else {})),
        seeds=2,
        metric="errors",
        unit="errors" if smoke else "errors of 6,000",
        tables=[
            dict(title="Teachers", rows=teachers()),
            dict(
                title="Students at T = 20, by the weight of labels",
                rows={
                    "from labels alone": dict(args=dict(role="labels"), budget=4),
                    **{f"{h:g}": dict(args=dict(hard=h), budget=4) for h in HARD},
                },
            ),
            dict(
                title="Students, by the optimizer's rate, its batches and epochs",
                columns={f"{rate:g}": dict(args=dict(rate=rate)) for rate in RATES},
                rows=students(),
            ),
        ],
    )


def teachers():
    earlier = {
        f"{n} epochs, a fifth of the inputs dropped": dict(
            args=dict(role="teacher", teacher_epochs=n, **EARLIER), budget=round(n / 3)
        )
        for n in (50, 100)
    }
    seen = dict(args=dict(role="teacher"), budget=17)
    return {"50 epochs, all inputs seen": seen} | earlier


def students():
    half = dict(hard=0.5, **EARLIER)
    return {
        "from labels": dict(args=dict(role="labels"), budget=4),
        "distilled": dict(args=half, budget=4),
        "distilled, twice the epochs": dict(args=dict(half, epochs=60), budget=8),
        "distilled, batches of 200": dict(args=dict(half, batch=200), budget=3),
    }
