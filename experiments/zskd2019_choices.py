"""Fashion-MNIST, LeNet-5: why KD costs its student accuracy, on held-out images.

In `experiments/zskd2019_lenet.py` students by KD are worse than from labels, where the paper has a
gain. The columns have ten epochs, as there, and fifty. 6,000 training images that no network learns
from are evaluated in place of the test set. Other temperatures are options of `configs/lenet.py`.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/zskd2019_choices.py

Two seeds. Budgets are minutes on one CPU core.
"""


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    row = lambda role: dict(args=dict(role=role))
    return dict(
        title="Fashion-MNIST, LeNet-5 into half of its channels, choices on held-out images (ours)",
        config="configs/lenet.py",
        args=dict(data="fashion_mnist", holdout=0.1),
        seeds=2,
        tables=[
            dict(
                title="Accuracy on 6,000 held-out images, by the student's epochs",
                columns={
                    "10 epochs": dict(budget=4),
                    "50 epochs": dict(args=dict(epochs=50), budget=15),
                },
                rows={
                    "from labels": row("labels"),
                    "by KD at T = 20": row("kd"),
                    "gain of KD at T = 20": dict(row("kd"), contrast="from labels"),
                },
            ),
            dict(
                title="Teachers of ten epochs",
                rows={"teacher": dict(row("teacher"), budget=4)},
            ),
        ],
    )
