"""What Hinton, Vinyals, Dean 2015, section 3, leave open, tried on a tenth of the training images in place of the test set.

    uv run kd prepare mnist
    uv run kd table experiments/hinton2015_choices.py

`configs/hinton2015_mnist.py` is where choices are written down. Budgets are minutes on two CPU cores, two seeds in one program.
"""

RATES = (3e-4, 1e-3)
HARD = (0.5, 0.1, 0.0)
"""Weights of the labels beside the teacher's answers at T = 20."""


def get_experiment(arg=None):
    if arg not in (None, "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke or nothing.")
    smoke = arg == "smoke"
    students = {
        "from labels": dict(args=dict(role="labels")),
        **{f"distilled, labels count {h:g}": dict(args=dict(hard=h)) for h in HARD},
    }
    more = {
        "distilled, labels count 0.5, twice the epochs": dict(
            args=dict(epochs=60), budget=8
        ),
        "distilled, labels count 0.5, batches of 200": dict(
            args=dict(batch=200), budget=3
        ),
    }
    return dict(
        title="MNIST, what was chosen for the table of Hinton et al. 2015 on held-out training images (ours)",
        note="In miniature: these numbers mean nothing." if smoke else "",
        config="configs/hinton2015_mnist.py",
        # The students' teacher is the one before the choice of its inputs.
        args=dict(holdout=0.1, drop=0.2, **(dict(smoke=True) if smoke else {})),
        seeds=2,
        metric="errors",
        unit="errors" if smoke else "errors of 6,000",
        tables=[
            dict(
                title="Teachers",
                rows={
                    f"{n} epochs": dict(
                        args=dict(role="teacher", teacher_epochs=n), budget=round(n / 3)
                    )
                    for n in (50, 100)
                }
                | {
                    "50 epochs, all inputs seen": dict(
                        args=dict(role="teacher", drop=0.0), budget=17
                    )
                },
            ),
            dict(
                title="Students, by the optimizer's rate",
                columns={f"{rate:g}": dict(args=dict(rate=rate)) for rate in RATES},
                rows={
                    **{row: dict(spec, budget=4) for row, spec in students.items()},
                    **more,
                },
            ),
        ],
    )
