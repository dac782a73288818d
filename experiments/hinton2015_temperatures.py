"""Temperatures of distillation on MNIST, section 3 of Hinton et al. 2015.

Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015. arXiv 1503.02531.

    uv run kd prepare mnist
    uv run kd table experiments/hinton2015_temperatures.py        # runs what is missing and prints
    uv run kd table experiments/hinton2015_temperatures.py:smoke  # in miniature

Students of the teacher of `experiments/hinton2015_mnist.py`, with a weight of 0.5 on labels at
every temperature. At T = 20 that is less good than the 0.9 used there, but it favours no
temperature. Five seeds in one program. Budgets are minutes of a run that has two CPU cores to
itself.
"""

TEMPERATURES = (1.0, 2.5, 4.0, 8.0, 20.0, 40.0)
BUDGETS = {800: 10, 300: 4, 30: 2}
"""Units in each of the two hidden layers -> minutes."""


def get_experiment(arg=None):
    if arg not in (None, "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke or nothing.")
    smoke = arg == "smoke"
    temperatures, units = ((20.0,), (30,)) if smoke else (TEMPERATURES, BUDGETS)
    return dict(
        title="MNIST, temperatures of the soft targets (Hinton, Vinyals, Dean 2015, section 3)",
        note="In miniature: these numbers mean nothing." if smoke else "",
        config="configs/hinton2015_mnist.py",
        args=dict(hard=0.5, **(dict(smoke=True) if smoke else {})),
        seeds=2 if smoke else 5,
        metric="errors",
        unit="errors" if smoke else "errors of 10,000",
        tables=[
            dict(
                title="Errors by temperature and units in each of the two hidden layers",
                note=(
                    "The paper gives no numbers here: with 300 or more units all temperatures "
                    "above 8 were similar; with 30, those from 2.5 to 4 were significantly better "
                    "than higher or lower ones."
                ),
                columns={f"T = {t:g}": dict(args=dict(T=t)) for t in temperatures},
                rows={f"{n} units": dict(args=dict(units=n), budget=BUDGETS[n]) for n in units},
            )
        ],
    )
