"""Fashion-MNIST, a table of ours: what distillation from five convolutional networks buys students of four sizes.

uv run kd prepare fashion_mnist
uv run kd table experiments/fashion_mnist.py

Budgets are minutes on two CPU cores, five seeds in one program, estimated from the networks' MACs.
"""

WIDTHS = (2, 4, 8, 16)


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    return dict(
        title="Fashion-MNIST, an ensemble of five distilled into small networks (ours)",
        config="configs/fashion_mnist.py",
        seeds=5,
        tables=[
            dict(
                title="Teachers",
                rows={
                    "teacher": dict(args=dict(role="teacher"), budget=45),
                    "ensemble of the teachers": dict(
                        args=dict(role="teacher"),
                        metric="accuracy(ensemble=True)",
                        budget=45,
                    ),
                },
            ),
            dict(
                title="Students, by channels of the first stage",
                against="bytes",
                columns={f"{w} channels": dict(args=dict(width=w)) for w in WIDTHS},
                rows={
                    "from labels": dict(args=dict(role="labels"), budget=15),
                    "distilled": dict(args=dict(role="student"), budget=15),
                },
            ),
        ],
    )
