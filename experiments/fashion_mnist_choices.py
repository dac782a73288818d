"""The temperature for students on Fashion-MNIST, chosen on held-out training images.

A tenth of the training images is evaluated in place of the test set.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/fashion_mnist_choices.py

Two seeds in one program. Budgets are minutes on two CPU cores.
"""

TEMPERATURES = (1, 2, 4)
WIDTHS = (2, 8)


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    return dict(
        title="Fashion-MNIST, the temperature chosen on held-out training images (ours)",
        config="configs/fashion_mnist.py",
        args=dict(holdout=0.1),
        seeds=2,
        tables=[
            dict(
                title="Accuracy on 6,000 held-out images, by channels of the first stage",
                columns={f"{w} channels": dict(args=dict(width=w)) for w in WIDTHS},
                rows={
                    "from labels": dict(args=dict(role="labels"), budget=5),
                    **{
                        f"distilled at T = {t}": dict(args=dict(role="student", T=t), budget=5)
                        for t in TEMPERATURES
                    },
                },
            )
        ],
    )
