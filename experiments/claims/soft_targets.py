"""Soft targets regularise: a student of 3 % of the images keeps almost all of the accuracy.

Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015. Section 6, table 5: of
the frames of a speech recogniser 58.9 % are right with all training data; with 3 % of it 44.5 %
from hard targets (stopped early), 57.0 % from the soft targets of the first.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/soft_targets.py
    uv run kd table experiments/claims/soft_targets.py:smoke
"""

from configs.claims import experiment

FEW = dict(images=1800, epochs=100)


def get_experiment(arg=None):
    of_all = dict(images=0, epochs=6)
    soft = dict(FEW, chain="100x100", t_images=0, t_epochs=6, hard=0.0)
    return experiment(
        arg,
        title="Soft targets regularise",
        note=(
            "In the paper: 58.9 % of frames of speech with all data; with 3 % of it 44.5 % from "
            "labels, stopped early, and 57.0 % from soft targets."
        ),
        args=dict(net="100x100"),
        claim=dict(
            sentence=(
                "With 3 % of the training data and the soft targets of a network that was trained "
                "on all of it, the same network keeps almost all of the accuracy, and needs no "
                "early stopping"
            ),
            paper="Hinton, Vinyals, Dean 2015, section 6, table 5",
            on=(
                "Fashion-MNIST, 60,000 training images and 1,800 of them; two hidden layers of 100 "
                "units for teacher and student, T = 2, no labels beside the soft targets"
            ),
            hypotheses={
                "soft targets are better than labels": dict(
                    of="soft targets, 3 %", minus="labels, 3 %", expected="greater"
                ),
                "at most the paper's two points are lost": dict(
                    of="soft targets, 3 %", minus="labels, all images", expected="greater", than=-2
                ),
                "training three times longer costs nothing (half a point)": dict(
                    of="soft targets, 3 %, 300 epochs",
                    minus="soft targets, 3 %",
                    expected="greater",
                    than=-0.5,
                ),
            },
        ),
        tables=[
            dict(
                title="Accuracy, last epoch",
                rows={
                    "labels, all images": dict(args=of_all, budget=3),
                    "labels, 3 %": dict(args=FEW, budget=2),
                    "labels, 3 %, 300 epochs": dict(args=dict(FEW, epochs=300), budget=5),
                    "soft targets, 3 %": dict(args=soft, budget=2),
                    "soft targets, 3 %, 300 epochs": dict(args=dict(soft, epochs=300), budget=5),
                },
            )
        ],
    )
