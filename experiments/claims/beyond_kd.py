"""Logit standardization, DKD and DIST beat KD where teacher and student differ in size.

Sun, Ren, Li, Wang, Cao. Logit Standardization in Knowledge Distillation. CVPR 2024.
https://arxiv.org/abs/2403.01427. Zhao, Cui, Song, Qiu, Liang. Decoupled Knowledge Distillation.
CVPR 2022. https://arxiv.org/abs/2203.08679. Huang, You, Wang, Qian, Xu. Knowledge Distillation from
A Stronger Teacher. NeurIPS 2022. https://arxiv.org/abs/2205.10536. Their tables are on CIFAR-100
and ImageNet.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/beyond_kd.py
    uv run kd table experiments/claims/beyond_kd.py:smoke
"""

from configs.claims import experiment

METHODS = {"kd_ls": "logit standardization", "dkd": "DKD", "dist": "DIST"}


def get_experiment(arg=None):
    student = lambda name: dict(args=dict(chain="400x400", method=name), budget=1)
    kd = "KD, T = 4"
    return experiment(
        arg,
        title="Logit standardization, DKD and DIST beat KD",
        args=dict(net="16"),
        claim=dict(
            sentence=(
                "Logit standardization, DKD and DIST are better than KD where the teacher is much "
                "larger than the student"
            ),
            paper="Sun et al. 2024, Zhao et al. 2022, Huang et al. 2022",
            on=(
                "Fashion-MNIST, 6,000 training images; teacher of two hidden layers of 400 units, "
                "student of one of 16; the papers' settings on CIFAR-100, nothing tuned here"
            ),
            hypotheses={
                f"{title} is better": dict(of=title, minus=kd, expected="greater")
                for title in METHODS.values()
            },
        ),
        tables=[
            dict(
                title="Accuracy",
                rows={
                    "teacher": dict(args=dict(net="400x400"), budget=3),
                    "from labels": dict(budget=1),
                    kd: dict(args=dict(chain="400x400", T=4.0), budget=1),
                    **{title: student(name) for name, title in METHODS.items()},
                },
            )
        ],
    )
