"""Students that are their own teacher, on Fashion-MNIST: no other network is trained.

    uv run kd prepare fashion_mnist
    uv run kd run --config configs/teacher_free.py:method=mean_teacher
    uv run kd run --config configs/teacher_free.py:method=pskd,seeds=5

`method` is `mean_teacher` (Tarvainen, Valpola. NeurIPS 2017. https://arxiv.org/abs/1703.01780: the
student agrees with the mean of its own weights over the updates, a loss that ramps up over the
first epochs; all images have their labels here, and the loss is KL in place of the paper's squared
error of probabilities), `tf_kd` (Yuan et al. CVPR 2020. https://arxiv.org/abs/1909.11723: a virtual
teacher), `pskd` (Kim et al. ICCV 2021. https://arxiv.org/abs/2006.12000: its own predictions of the
epoch before), `smoothing` (Szegedy et al. CVPR 2016, of 0.1) or `labels`, what all are compared
with.
"""

from configs import fashion_mnist
from configs.common import METHODS, parse_arg

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
