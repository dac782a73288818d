"""Settings that Hinton, Vinyals, Dean 2015, section 3, leave open, chosen on held-out images.

A tenth of the training images is evaluated in place of the test set. The rows of shifted images are
not the paper's: they say what the transfer set lacks.

    uv run kd prepare mnist
    uv run kd table experiments/hinton2015_choices.py

`configs/hinton2015_mnist.py` has the settings that were chosen. Two seeds in one program. Budgets
are minutes on one of two CPU cores, the other one busy.
"""

HARD = (0.0, 0.5, 0.9, 0.95)
"""Weights of the labels; the rest is on the teacher's outputs at T = 20."""


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
            dict(
                title="Students at T = 20, by the weight of labels",
                rows={f"{h:g}": dict(args=dict(hard=h), budget=7) for h in HARD},
            ),
            dict(title="Students, by how they are trained", rows=students()),
        ],
    )


def students():
    labels = dict(role="labels")
    sgd = lambda rate: dict(optimizer="sgd", rate=rate)
    return {
        "their teachers": dict(args=dict(role="teacher"), budget=25),
        "from labels: Adam at 1e-3, 30 epochs": dict(args=labels, budget=7),
        "from labels: SGD at 0.1, momentum 0.9": dict(args=labels | sgd(0.1), budget=7),
        "distilled: Adam at 1e-3, 30 epochs": dict(budget=7),
        "distilled: batches of 32": dict(args=dict(batch=32), budget=15),
        "distilled: SGD at 0.03, momentum 0.9": dict(args=sgd(0.03), budget=7),
        "distilled: SGD at 0.1, momentum 0.9": dict(args=sgd(0.1), budget=7),
        "without labels: Adam at 1e-3, 30 epochs": dict(args=dict(hard=0.0), budget=7),
        "without labels: 120 epochs": dict(args=dict(hard=0.0, epochs=120), budget=28),
        "from labels: shifted images": dict(args=labels | dict(shifted=True), budget=7),
        "distilled: shifted images": dict(args=dict(shifted=True), budget=15),
        "without labels: shifted images": dict(args=dict(hard=0.0, shifted=True), budget=15),
    }
