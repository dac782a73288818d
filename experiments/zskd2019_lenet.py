"""MNIST and Fashion-MNIST: LeNet-5 distilled into half of its channels, with the data.

Nayak et al. Zero-Shot Knowledge Distillation in Deep Networks. ICML 2019, tables 1 and 2: the rows
that use all training images. Data impressions, the paper's method without them, are not in `kd`.

    uv run kd prepare mnist
    uv run kd prepare fashion_mnist
    uv run kd table experiments/zskd2019_lenet.py
    uv run kd table experiments/zskd2019_lenet.py:smoke  # in miniature

KD and labels is a row of ours. Budgets are minutes on one CPU core.
"""

from configs.arguments import check_known

PAPER = {
    "mnist": ("MNIST, table 1", 99.34, 98.92, 99.25),
    "fashion_mnist": ("Fashion-MNIST, table 2", 90.84, 89.43, 89.66),
}
"""Data -> title, and the accuracy of the teacher, of the student from labels and by KD."""


def get_experiment(arg=None):
    if arg:
        check_known("argument", arg, ("smoke",))
    row = lambda role, **more: dict(
        args=dict(role=role), budget=10 if role == "teacher" else 6, **more
    )
    return dict(
        title="LeNet-5 of 61,706 parameters into one of 35,820 (Nayak et al. 2019)",
        note="In miniature: these numbers mean nothing." if arg else "",
        config="configs/lenet.py",
        args=dict(smoke=True) if arg else {},
        seeds=2 if arg else 5,
        source="Nayak et al. 2019",
        tables=[
            dict(
                title=title,
                args=dict(data=data),
                rows={
                    "teacher": row("teacher", paper=teacher),
                    "student from labels": row("labels", paper=labels),
                    "student by KD": row("kd", paper=kd),
                    "student by KD and labels": row("kd_labels"),
                    "gain of KD": row("kd", contrast="student from labels"),
                    "gain of KD and labels": row("kd_labels", contrast="student from labels"),
                },
            )
            for data, (title, teacher, labels, kd) in PAPER.items()
        ],
    )
