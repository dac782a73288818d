"""Born-again networks beat their teachers, and gain less with each generation.

Furlanello, Lipton, Tschannen, Itti, Anandkumar. Born-Again Neural Networks. ICML 2018.
https://arxiv.org/abs/1805.04770, sections 3.1 and 5: each generation has the network of the one
before and learns from labels and from its predictions at T = 1.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/generations.py
    uv run kd table experiments/claims/generations.py:smoke
"""

from configs.claims import experiment

NET = "100x100"


def get_experiment(arg=None):
    generation = lambda g: dict(args=dict(chain="-".join([NET] * g)), budget=1.5)
    return experiment(
        arg,
        title="Born-again networks beat their teachers",
        args=dict(net=NET, T=1.0, hard=0.5),
        claim=dict(
            sentence=(
                "A student of the same size as its teacher is more accurate than the teacher, and "
                "later generations gain less"
            ),
            paper="Furlanello et al. 2018, sections 3.1 and 5",
            on=(
                "Fashion-MNIST, 6,000 training images, two hidden layers of 100 units; equal "
                "weights of labels and teacher, T = 1"
            ),
            hypotheses={
                "the first generation beats its teacher": dict(
                    of="generation 1", minus="generation 0, from labels", expected="greater"
                ),
                "three generations beat the network from labels": dict(
                    of="generation 3", minus="generation 0, from labels", expected="greater"
                ),
                "the second gains less than the first": dict(
                    of="generation 2",
                    minus={"generation 1": 2, "generation 0, from labels": -1},
                    expected="less",
                ),
            },
        ),
        tables=[
            dict(
                title="Accuracy",
                rows={
                    "generation 0, from labels": generation(0),
                    **{f"generation {g}": generation(g) for g in (1, 2, 3)},
                },
            )
        ],
    )
