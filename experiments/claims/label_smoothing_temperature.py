"""Label smoothing of the teacher hurts its student at high temperatures, and helps it at T = 1.

Chandrasegaran, Tran, Zhao, Cheung. Revisiting Label Smoothing and Knowledge Distillation
Compatibility: What was Missing? ICML 2022. https://arxiv.org/abs/2206.14532: with a smoothed
teacher a higher temperature brings its classes nearer to similar ones ("systematic diffusion"); as
a rule of thumb one distils from it at T = 1.

The cells are those of `label_smoothing.py`.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/label_smoothing_temperature.py
    uv run kd table experiments/claims/label_smoothing_temperature.py:smoke
"""

from configs.claims import experiment

NET, TEACHER = "32", "200x200"
TEMPERATURES = (1, 2, 4, 8)


def tables():
    """Teachers with and without smoothing, and their students at each temperature."""
    of = lambda smoothing: dict(net=TEACHER, smoothing=smoothing)
    student = lambda smoothing: dict(chain=TEACHER, t_smoothing=smoothing)
    return [
        dict(
            title="Teachers",
            rows={
                "teacher": dict(args=of(0.0), budget=2),
                "teacher, smoothed": dict(args=of(0.1), budget=2),
            },
        ),
        dict(
            title="Students",
            args=dict(net=NET),
            columns={f"T = {T}": dict(args=dict(T=float(T)), budget=1) for T in TEMPERATURES},
            rows={
                "of the teacher": dict(args=student(0.0)),
                "of the smoothed teacher": dict(args=student(0.1)),
            },
        ),
    ]


def get_experiment(arg=None):
    return experiment(
        arg,
        title="A smoothed teacher helps at T = 1 and hurts at high temperatures",
        claim=dict(
            sentence=(
                "The student of a smoothed teacher is better than that of one without smoothing at "
                "T = 1, and this advantage disappears at higher temperatures"
            ),
            paper="Chandrasegaran et al. 2022, section 5",
            on=(
                "Fashion-MNIST, 6,000 training images; teacher of two hidden layers of 200 units, "
                "smoothing 0.1; student of 32 units, weight of the labels 0.1"
            ),
            hypotheses={
                "better at T = 1": dict(
                    of="of the smoothed teacher, T = 1",
                    minus="of the teacher, T = 1",
                    expected="greater",
                ),
                "worse at T = 4": dict(
                    of="of the smoothed teacher, T = 4",
                    minus="of the teacher, T = 4",
                    expected="less",
                ),
                "the difference is smaller at T = 4 than at T = 1": dict(
                    of="of the smoothed teacher, T = 4",
                    minus={
                        "of the teacher, T = 4": 1,
                        "of the smoothed teacher, T = 1": 1,
                        "of the teacher, T = 1": -1,
                    },
                    expected="less",
                ),
            },
        ),
        tables=tables(),
    )
