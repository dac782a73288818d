"""MNIST: LeNet-5 distilled into half of its widths, with the data.

Chen et al. Data-Free Learning of Student Networks. ICCV 2019, table 1: the rows of LeNet-5 that use
the training images. The paper's method without them is not in `kd`.

    uv run kd prepare mnist
    uv run kd table experiments/dafl2019_mnist.py
    uv run kd table experiments/dafl2019_mnist.py:smoke  # in miniature

Budgets are minutes on one CPU core.
"""

from configs.arguments import check_known


def get_experiment(arg=None):
    if arg:
        check_known("argument", arg, ("smoke",))
    row = lambda role, **more: dict(args=dict(role=role, paper="dafl"), budget=6, **more)
    return dict(
        title="MNIST, LeNet-5 of 61,706 parameters into one of 15,738 (Chen et al. 2019)",
        note="In miniature: these numbers mean nothing." if arg else "",
        config="configs/lenet.py",
        args=dict(smoke=True) if arg else {},
        seeds=2 if arg else 5,
        source="Chen et al. 2019, table 1",
        tables=[
            dict(
                title="Accuracy on the test set",
                rows={
                    "teacher": dict(args=dict(role="teacher"), paper=98.91, budget=10),
                    "student from labels": row("labels", paper=98.65),
                    "student by KD": row("kd", paper=98.91),
                    "gain of KD": row("kd", contrast="student from labels"),
                },
            ),
        ],
    )
