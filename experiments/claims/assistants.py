"""Teacher assistants: a network of middle size between a large teacher and a small student helps.

Mirzadeh, Farajtabar, Li, Levine, Matsukawa, Ghasemzadeh. Improved Knowledge Distillation via
Teacher Assistant. AAAI 2020. https://arxiv.org/abs/1902.03393, section 4, tables 1 and 2. With
convolutional networks on all of Fashion-MNIST: `experiments/takd.py`.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/assistants.py
    uv run kd table experiments/claims/assistants.py:smoke
"""

from configs.claims import experiment


def get_experiment(arg=None):
    student = lambda chain: dict(args=dict(net="16", chain=chain), budget=1)
    return experiment(
        arg,
        title="Teacher assistants help",
        args=dict(T=4.0),
        claim=dict(
            sentence=(
                "A student much smaller than its teacher is better if it learns from an assistant "
                "of middle size that learned from the teacher"
            ),
            paper="Mirzadeh et al. 2020, section 4",
            on=(
                "Fashion-MNIST, 6,000 training images; two hidden layers of 400 units, assistant "
                "of one layer of 64, student of 16; T = 4, weight of the labels 0.1"
            ),
            hypotheses={
                "the assistant helps": dict(
                    of="by an assistant", minus="directly", expected="greater"
                ),
            },
        ),
        tables=[
            dict(
                title="Accuracy",
                rows={
                    "teacher": dict(args=dict(net="400x400"), budget=3),
                    "from labels": dict(args=dict(net="16"), budget=1),
                    "directly": student("400x400"),
                    "by an assistant": student("400x400-64"),
                },
            )
        ],
    )
