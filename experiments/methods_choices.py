"""Settings of the methods that are worse than labels, tried on held-out images.

A distance of maps is a sum or a mean over places and channels, so that a weight that was tuned for
the maps of CIFAR-100's networks weighs more or less on others. MLKD compares the sums of a batch's
probabilities by class, which grow with images per class. The columns have a hundredth and a tenth
of the papers' weight, the weight, and ten times it. A second table is of methods without a weight
to choose, which may only need more than eight epochs, and of MLKD with smaller relations. 6,000
training images that no network learns from are evaluated in place of the test set.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/methods_choices.py

One seed, and three in the second table. Budgets are minutes on one CPU core.
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
LONGER = {
    "labels": "labels",
    "KD": "kd",
    "SimKD": "simkd",
    "EnD2 (three teachers)": "end2",
    "Tf-KD, itself": "tf_kd_self",
    "PS-KD": "pskd",
    "MLKD, relations / 400": dict(method="mlkd", relation=0.0025),
}
"""Row -> method, or arguments of the config. A class has 12.8 images in a batch here, and 0.64 in
one of CIFAR-100, and MLKD's relations are squares of sums over a class: 20² = 400.
"""

TIMES = {"a hundredth": 0.01, "a tenth": 0.1, "the paper's": 1.0, "ten times": 10.0}


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    return dict(
        title="Fashion-MNIST at 14 x 14 pixels, settings of methods, on held-out images (ours)",
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
                title="Accuracy on 6,000 held-out images, by the length of the training",
                seeds=3,
                columns={
                    "8 epochs": {},
                    "8 epochs, vs labels": dict(contrast="labels"),
                    "40 epochs": dict(args=dict(epochs=40)),
                    "40 epochs, vs labels": dict(args=dict(epochs=40), contrast="labels"),
                },
                rows={
                    name: dict(args=of if isinstance(of, dict) else dict(method=of), budget=3)
                    for name, of in LONGER.items()
                },
            ),
        ],
    )
