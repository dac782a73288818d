"""A better teacher is not a better teacher; one that is stopped early is.

Cho, Hariharan. On the Efficacy of Knowledge Distillation. ICCV 2019.
https://arxiv.org/abs/1910.01348, sections 4 and 5: students of larger and more accurate networks
are no better, and those of a large network that was stopped early are.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/better_teacher.py
    uv run kd table experiments/claims/better_teacher.py:smoke
"""

from configs.claims import experiment

TEACHERS = ("32", "100x100", "400x400")


def get_experiment(arg=None):
    student = lambda teacher, **of: dict(args=dict(of, net="32", chain=teacher), budget=1)
    return experiment(
        arg,
        title="A better teacher is not a better teacher",
        args=dict(T=4.0),
        claim=dict(
            sentence=(
                "Students of a larger, more accurate teacher are no better than those of a smaller "
                "one, and those of the large one stopped early are better"
            ),
            paper="Cho, Hariharan 2019, sections 4 and 5",
            on=(
                "Fashion-MNIST, 6,000 training images; teachers of two hidden layers of 100 and "
                "400 units, 40 epochs, stopped early 8 (with a schedule of that length, as in the "
                "paper); student of 32 units, T = 4, weight of the labels 0.1"
            ),
            hypotheses={
                "the larger teacher is better": dict(
                    of="from labels, 400x400", minus="from labels, 100x100", expected="greater"
                ),
                "its student is no better (0.3 points)": dict(
                    of="student of 400x400",
                    minus="student of 100x100",
                    expected="less",
                    than=0.3,
                ),
                "stopped early it has a better student": dict(
                    of="student of 400x400, stopped early",
                    minus="student of 400x400",
                    expected="greater",
                ),
            },
        ),
        tables=[
            dict(
                title="Teachers",
                rows={
                    **{
                        f"from labels, {net}": dict(args=dict(net=net), budget=3)
                        for net in TEACHERS
                    },
                    "from labels, 400x400, stopped early": dict(
                        args=dict(net="400x400", epochs=8), budget=1
                    ),
                },
            ),
            dict(
                title="Students of 32 units",
                rows={
                    **{f"student of {teacher}": student(teacher) for teacher in TEACHERS},
                    "student of 400x400, stopped early": student("400x400", t_epochs=8),
                },
            ),
        ],
    )
