"""Students that are trained to be provable: accuracy, under attack, and certified.

Tables of ours. Certificates are by `kd verify` (intervals, then CROWN), the attack by projected
gradient descent; of every seed, on all 360 test images of the digits, and on 500 of Fashion-MNIST.
The students of Fashion-MNIST have one layer of 32 units, so that the table takes an hour of two
cores; `:fashion_mnist_cnn` has convolutional ones and takes most of a day, or a GPU.

    uv run kd table experiments/verified.py
    uv run kd table experiments/verified.py:smoke  # in miniature
    uv run kd prepare fashion_mnist && uv run kd table experiments/verified.py:fashion_mnist
"""

ROWS = {
    "from labels": dict(method="labels"),
    "distilled (KD)": dict(method="kd"),
    "from labels, IBP": dict(method="ibp"),
    "KD and IBP": dict(method="kd_ibp"),
    "KD and CROWN-IBP": dict(method="kd_crown_ibp"),
    "ARD": dict(method="ard"),
    "RSLAD": dict(method="rslad"),
    "IAD": dict(method="iad"),
}

RADII = {
    "digits": (16, (4, 8, 16)),
    "fashion_mnist": (4, (1, 2, 4, 8)),
    "fashion_mnist_cnn": (4, (1, 2, 4, 8)),
}
"""Radius of the attack and those of the certificates, in levels of the pixels."""

WORDS = {
    "digits": "Handwritten digits,",
    "fashion_mnist": "Fashion-MNIST,",
    "fashion_mnist_cnn": "Fashion-MNIST, convolutional",
}

BUDGET = {"digits": 2, "fashion_mnist": 10, "fashion_mnist_cnn": 120}
"""Minutes of a row."""


def get_experiment(arg=None):
    if arg not in (None, "smoke", "fashion_mnist", "fashion_mnist_cnn"):
        raise ValueError(
            f"argument {arg!r}: expected smoke, fashion_mnist, fashion_mnist_cnn or nothing."
        )
    smoke, data = arg == "smoke", arg if arg in RADII else "digits"
    attack, radii = RADII[data]
    names = ("distilled (KD)", "KD and IBP") if smoke else ROWS
    rows = {name: dict(args=ROWS[name], budget=BUDGET[data]) for name in names}
    return dict(
        title=f"{WORDS[data]} students trained to be provable (ours)",
        note=(
            "In miniature: these numbers mean nothing."
            if smoke
            else "Radii are L-infinity, in levels of the pixels. Certified: the class is proved to "
            "be the label in the whole ball. Under attack: gradient descent found no image of the "
            "ball that gets another class. The teachers are not robust themselves."
        ),
        config="configs/verified.py",
        args={"smoke": True} if smoke else {} if data == "digits" else {"data": data},
        seeds=2 if smoke else 5,
        tables=[
            dict(
                title="Accuracy on the test images, and under attack",
                columns={
                    "accuracy": {},
                    f"under attack at {attack}": dict(metric=f"attacked(radius={attack})"),
                },
                rows=rows,
            ),
            dict(
                title="Certified accuracy by the radius",
                against="radius",
                columns={f"at {r}": dict(metric=f"certified(radius={r})") for r in radii},
                rows=rows,
            ),
        ],
    )
