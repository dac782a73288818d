"""Weights of methods whose losses depend on the size of the networks, on held-out images.

A distance of maps is a sum or a mean over places and channels, so that a weight that was tuned for
the maps of CIFAR-100's networks weighs more or less on others. MLKD compares the sums of a batch's
probabilities by class, which grow with images per class. The columns have a hundredth and a tenth
of the papers' weight, the weight, and ten times it. 6,000 training images that no network learns
from are evaluated in place of the test set.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/methods_choices.py

One seed. Budgets are minutes on one CPU core.
"""

METHODS = {
    "AT": "at",
    "factor transfer": "ft",
    "MGD": "mgd",
    "FitNet": "fitnet",
    "NST": "nst",
    "CWD": "cwd",
    "OFD": "ofd",
    "ReviewKD": "reviewkd",
    "MLKD": "mlkd",
}
TIMES = {"a hundredth": 0.01, "a tenth": 0.1, "the paper's": 1.0, "ten times": 10.0}


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    return dict(
        title="Fashion-MNIST at 14 x 14 pixels, the weight of methods, on held-out images (ours)",
        config="configs/fashion_methods.py",
        args=dict(holdout=0.1),
        seeds=1,
        tables=[
            dict(
                title="Accuracy on 6,000 held-out images, by the method's weight",
                columns={name: dict(args=dict(weight=times)) for name, times in TIMES.items()},
                rows={name: dict(args=dict(method=of), budget=1) for name, of in METHODS.items()},
            ),
            dict(
                title="Without these terms",
                rows={
                    "labels": dict(args=dict(method="labels"), budget=1),
                    "KD": dict(args=dict(method="kd"), budget=1),
                },
            ),
        ],
    )
