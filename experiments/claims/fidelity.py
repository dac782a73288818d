"""Students disagree with their teachers even where they could agree; more data brings them nearer.

Stanton, Izmailov, Kirichenko, Alemi, Wilson. Does Knowledge Distillation Really Work? NeurIPS 2021.
https://arxiv.org/abs/2106.05945, sections 4 to 6: a student of the teacher's network could agree
with it everywhere, and does not; a larger transfer set raises the agreement; one that begins near
the teacher's weights stays there.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/fidelity.py
    uv run kd table experiments/claims/fidelity.py:smoke
"""

from configs.claims import experiment


def get_experiment(arg=None):
    student = lambda **args: dict(args=dict(chain="100x100", hard=0.0, **args), budget=2)
    agreement = lambda row: dict(row, metric="agreement")
    students = {
        "6,000 images": student(),
        "6,000 images, five times longer": student(epochs=200),
        "60,000 images, as many updates": student(images=0, epochs=4),
        "6,000 images, begun at the teacher": student(from_teacher=True),
    }
    return experiment(
        arg,
        title="Students disagree with their teachers even where they could agree",
        args=dict(net="100x100", T=4.0),
        claim=dict(
            sentence=(
                "A student with the teacher's architecture does not fully agree with it; longer "
                "training does not close the gap, and a larger transfer set narrows it"
            ),
            paper="Stanton et al. 2021, sections 4 to 6",
            on=(
                "Fashion-MNIST, a teacher of 6,000 labelled images, two hidden layers of 100 units "
                "for both, T = 4, no labels for the student; agreement on test images"
            ),
            hypotheses={
                "it disagrees where it could agree": dict(
                    of="agreement: 6,000 images",
                    minus="agreement: 6,000 images, begun at the teacher",
                    expected="less",
                    than=-1,
                ),
                "and after a longer training": dict(
                    of="agreement: 6,000 images, five times longer",
                    minus="agreement: 6,000 images, begun at the teacher",
                    expected="less",
                    than=-1,
                ),
                "more data helps": dict(
                    of="agreement: 60,000 images, as many updates",
                    minus="agreement: 6,000 images",
                    expected="greater",
                ),
            },
        ),
        tables=[
            dict(title="agreement", rows={k: agreement(row) for k, row in students.items()}),
            dict(title="accuracy", rows={"teacher": dict(budget=1), **students}),
        ],
    )
