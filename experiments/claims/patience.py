"""Consistent and patient teaching: fresh views that teacher and student share, and long training.

Beyer, Zhai, Royer, Markeeva, Anil, Kolesnikov. Knowledge Distillation: A Good Teacher is Patient
and Consistent. CVPR 2022. https://arxiv.org/abs/2106.05237, sections 3.1 and 3.2, figures 3 and 4.
Teacher and student see the same view in all rows. That the teacher's targets are those of the
unmoved image, the paper's "fixed teacher", is not among them.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/patience.py
    uv run kd table experiments/claims/patience.py:smoke
"""

from configs.claims import experiment

SHORT, LONG = 40, 160


def get_experiment(arg=None):
    of = lambda epochs, **args: dict(args=dict(args, augment="crop(2)", epochs=epochs), budget=4)
    teacher = dict(chain="200x200", t_augment="crop(2)")
    distilled = lambda epochs, **args: of(epochs, **teacher, hard=0.0, **args)
    return experiment(
        arg,
        title="A good teacher is patient and consistent",
        args=dict(net="32", T=1.0),
        claim=dict(
            sentence=(
                "A student that sees fresh views together with its teacher gains from a training "
                "four times longer, more than one from labels, and more than from a fixed view of "
                "each image"
            ),
            paper="Beyer et al. 2022, sections 3.1 and 3.2",
            on=(
                "Fashion-MNIST, 6,000 training images, shifts of up to two pixels; teacher of two "
                "hidden layers of 200 units, student of 32, T = 1 without labels, 40 and 160 epochs"
            ),
            hypotheses={
                "longer is better": dict(
                    of=f"distilled, {LONG} epochs",
                    minus=f"distilled, {SHORT} epochs",
                    expected="greater",
                ),
                "length gives more than to labels": dict(
                    of=f"distilled, {LONG} epochs",
                    minus={
                        f"distilled, {SHORT} epochs": 1,
                        f"labels, {LONG} epochs": 1,
                        f"labels, {SHORT} epochs": -1,
                    },
                    expected="greater",
                ),
                "fresh views are better than one for ever": dict(
                    of=f"distilled, {LONG} epochs",
                    minus=f"distilled, {LONG} epochs, one view of each image",
                    expected="greater",
                ),
            },
        ),
        tables=[
            dict(
                title="Accuracy",
                rows={
                    **{f"labels, {n} epochs": of(n) for n in (SHORT, LONG)},
                    **{f"distilled, {n} epochs": distilled(n) for n in (SHORT, LONG)},
                    f"distilled, {LONG} epochs, one view of each image": distilled(LONG, views=1),
                },
            )
        ],
    )
