"""A longer teacher for the table of Hinton, Vinyals, Dean 2015, section 3: six times the epochs.

    uv run kd prepare mnist
    uv run kd table experiments/hinton2015_longer.py

The paper trains its teacher for 3000 epochs, `experiments/hinton2015_mnist.py` for 50, this one for
300. One teacher, an hour and a half of one core, and five students of it, a quarter of an hour.
"""


def get_experiment(arg=None):
    if arg not in (None, "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke or nothing.")
    smoke = arg == "smoke"
    return dict(
        title="MNIST, a longer teacher (Hinton, Vinyals, Dean 2015, section 3)",
        note="In miniature: these numbers mean nothing." if smoke else "",
        config="configs/hinton2015_mnist.py",
        args=dict(smoke=True) if smoke else {},
        seeds=2 if smoke else 5,
        source="Hinton, Vinyals, Dean 2015, section 3",
        metric="errors",
        unit="errors" if smoke else "errors of 10,000",
        tables=[
            dict(
                title="Errors on the test set, one teacher of 300 epochs",
                rows={
                    "teacher, 1200 units": dict(
                        args=dict(role="teacher", teacher_epochs=300),
                        seeds=1,
                        paper=67,
                        budget=90,
                    ),
                    "student, 800 units, distilled at T = 20": dict(
                        args=dict(teachers=1, teacher_epochs=300), paper=74, budget=15
                    ),
                },
            )
        ],
    )
