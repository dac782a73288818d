"""Fashion-MNIST: five convolutional teachers distilled into students of four sizes.

A table of ours.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/fashion_mnist.py

Five seeds in one program. Budgets are minutes of a run that shares two CPU cores with another one
(`--jobs 2`): two hours in total.
"""

BUDGET_OF_WIDTH = {2: 8, 4: 12, 8: 20, 16: 35}


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    return dict(
        title="Fashion-MNIST, an ensemble of five distilled into small networks (ours)",
        note=(
            "Strong recipe: smoothed labels and mixed images, with as many updates as the "
            "distilled student has, and with twice as many."
        ),
        config="configs/fashion_mnist.py",
        seeds=5,
        tables=[
            dict(
                title="Teachers",
                rows={
                    "teacher": dict(args=dict(role="teacher"), budget=75),
                    "ensemble of the teachers": dict(
                        args=dict(role="teacher"), metric="accuracy(ensemble=True)", budget=75
                    ),
                },
            ),
            dict(
                title="Students, by channels of the first stage",
                against="bytes",
                columns={
                    f"{width} channels": dict(args=dict(width=width), budget=budget)
                    for width, budget in BUDGET_OF_WIDTH.items()
                },
                rows={
                    "from labels": dict(args=dict(role="labels")),
                    "from labels, strong recipe": dict(args=dict(role="strong")),
                    "the same, twice as long": dict(args=dict(role="strong", epochs=30)),
                    "distilled": dict(args=dict(role="student")),
                    "gain": dict(args=dict(role="student"), contrast="from labels"),
                    "gain over the strong recipe": dict(
                        args=dict(role="student"), contrast="from labels, strong recipe"
                    ),
                    "gain over twice as long": dict(
                        args=dict(role="student"), contrast="the same, twice as long"
                    ),
                },
            ),
        ],
    )
