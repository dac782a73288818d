"""The student of an ensemble keeps most of the ensemble's gain.

Allen-Zhu, Li. Towards Understanding Ensemble, Knowledge Distillation and Self-Distillation in Deep
Learning. ICLR 2023. https://arxiv.org/abs/2012.09816, section 1 and figure 1: the ensemble is
better than its members, one network of the same size that learns from it keeps much of that, and
self-distillation gains less.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/ensemble_gain.py
    uv run kd table experiments/claims/ensemble_gain.py:smoke
"""

from configs.claims import experiment


def get_experiment(arg=None):
    labels, student = "from labels", "student of the ensemble"
    return experiment(
        arg,
        title="The student of an ensemble keeps most of its gain",
        args=dict(net="100x100", T=2.0),
        claim=dict(
            sentence=(
                "An ensemble is better than its members, a student of their size keeps more than "
                "half of that gain, and more than it would learn from one of them"
            ),
            paper="Allen-Zhu, Li 2023, section 1",
            on=(
                "Fashion-MNIST, 6,000 training images, five networks of two hidden layers of 100 "
                "units and a student of the same size, T = 2, weight of the labels 0.1"
            ),
            hypotheses={
                "the ensemble is better than its members": dict(
                    of="ensemble of five", minus=labels, expected="greater"
                ),
                "its student is better than from labels": dict(
                    of=student, minus=labels, expected="greater"
                ),
                "it keeps more than half of the gain": dict(
                    of=student, minus={"ensemble of five": 0.5, labels: 0.5}, expected="greater"
                ),
                "it is better than the student of one": dict(
                    of=student, minus="student of one network", expected="greater"
                ),
            },
        ),
        tables=[
            dict(
                title="Accuracy",
                rows={
                    labels: dict(budget=1),
                    "ensemble of five": dict(metric="accuracy(ensemble=True)", budget=1),
                    "student of one network": dict(args=dict(chain="100x100"), budget=1),
                    student: dict(args=dict(chain="100x100", together=True), budget=1),
                },
            )
        ],
    )
