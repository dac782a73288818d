"""Label smoothing of the teacher hurts its student.

Müller, Kornblith, Hinton. When Does Label Smoothing Help? NeurIPS 2019.
https://arxiv.org/abs/1906.02629, section 4: a smoothed teacher is as good or better, and its
students are worse, since it knows less of how examples of a class differ.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/label_smoothing.py
    uv run kd table experiments/claims/label_smoothing.py:smoke
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
        title="Label smoothing of the teacher hurts its student",
        claim=dict(
            sentence="Label smoothing does not make a teacher worse, but makes its student worse",
            paper="Müller, Kornblith, Hinton 2019, section 4",
            on=(
                "Fashion-MNIST, 6,000 training images; teacher of two hidden layers of 200 units, "
                "smoothing 0.1; student of 32 units, weight of the labels 0.1"
            ),
            hypotheses={
                "the smoothed teacher is no worse (half a point)": dict(
                    of="teacher, smoothed", minus="teacher", expected="greater", than=-0.5
                ),
                **{
                    f"its student is worse at T = {T}": dict(
                        of=f"of the smoothed teacher, T = {T}",
                        minus=f"of the teacher, T = {T}",
                        expected="less",
                    )
                    for T in (2, 4)
                },
            },
        ),
        tables=tables(),
    )
