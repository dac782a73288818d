"""Fashion-MNIST: students that need no other network, each its own teacher.

    uv run kd prepare fashion_mnist
    uv run kd run --config configs/teacher_free.py:method=mean_teacher
    uv run kd run --config configs/teacher_free.py:method=pskd,seeds=5

`method` is one of:

- `mean_teacher`: Tarvainen, Valpola. NeurIPS 2017. https://arxiv.org/abs/1703.01780. The teacher is
  an average of the student's own weights over the updates; its loss ramps up over the first epochs.
  Here all images have labels, and the loss is KL instead of the paper's squared error of
  probabilities.
- `tf_kd`: a virtual teacher, Yuan et al. CVPR 2020. https://arxiv.org/abs/1909.11723.
- `pskd`: the student's predictions of the epoch before, Kim et al. ICCV 2021.
  https://arxiv.org/abs/2006.12000.
- `smoothing`: label smoothing of 0.1, Szegedy et al. CVPR 2016.
- `labels`: the baseline.
"""

from configs import fashion_mnist
from configs.arguments import parse_arg
from configs.methods import METHODS

DEFAULTS = dict(method="mean_teacher", width=8, seeds=5, epochs=12, smoke=False)

SECTIONS = {
    "labels": dict(ce=dict(name="ce.CE")),
    "smoothing": dict(ce=dict(name="ce.CE", smoothing=0.1)),
    "mean_teacher": dict(
        ce=dict(name="ce.CE"),
        kd=dict(
            name="kd.KD", weight=dict(name="linear", start=0.0, end=1.0, over=4.0), temperature=1.0
        ),
    ),
    "tf_kd": METHODS["tf_kd_reg"],
    "pskd": METHODS["pskd"],
}


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    if a["method"] not in SECTIONS:
        raise ValueError(f"method={a['method']}: expected {', '.join(SECTIONS)}.")
    c = fashion_mnist.recipe(a["seeds"], a["epochs"], a["smoke"])
    c.student = fashion_mnist.network(a["width"])
    c.objective = SECTIONS[a["method"]]
    if a["method"] == "mean_teacher":
        c.teacher = dict(name="ema", decay=0.999)
    return c
