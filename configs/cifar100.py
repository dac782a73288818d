"""Distillation on CIFAR-100 by the recipe of the field's tables (Tian et al. 2020): any pair of the zoo, any method.

    uv run kd prepare cifar100
    uv run kd run --config configs/cifar100.py:teacher=resnet32x4,student=resnet8x4,method=kd

`method` is one of METHODS in `configs/common.py`, whose settings are those of the papers, per pair where they tuned them;
`labels`, `tf_kd_reg` and `pskd` have no teacher. The teacher is trained by `configs/cifar100_teacher.py` where it is missing, or is the
run `run=DIRECTORY`. `teachers=3` learns from an ensemble of three, reduced as `reduce` says. `epochs` shortens student and teacher in
proportion, `teacher_epochs` the teacher alone; `holdout=0.1` evaluates both on a share of train, for choices. Not run here in full: 240
epochs want a GPU.
"""

from configs.common import SEVERAL, TEACHER_FREE, deployed, method, parse_arg, reference
from configs.crd import EPOCHS, network, recipe

DEFAULTS = dict(
    teacher="resnet32x4",
    student="resnet8x4",
    method="kd",
    run="",
    teachers=0,  # 0: as many as the method needs
    reduce="probs",
    seeds=1,
    epochs=EPOCHS,
    teacher_epochs=0,  # 0: as many as the student
    holdout=0.0,
)

SECOND = ("fsp", "ab", "ft")
"""Methods whose second run begins with what their first run has learnt."""


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    teacher, student = network(a["teacher"]), network(a["student"])
    objective = method(a["method"], a["teacher"], a["student"])
    if a["method"] in SECOND:
        raise ValueError(
            f"method={a['method']} is the second of two runs and has to start from the first one's student, which configs "
            f"cannot express yet. method={a['method']}_first is the first."
        )
    c = recipe(a["student"], a["seeds"], a["epochs"], a["holdout"])
    members = a["teachers"] or (5 if a["method"] in SEVERAL else 1)
    c.student = deployed(a["method"], teacher, student, members)
    c.objective = objective
    if a["method"] in TEACHER_FREE:
        return c
    if a["run"]:
        c.teacher = dict(run=a["run"], reduce=a["reduce"])
    else:
        own = dict(
            model=a["teacher"],
            seeds=members,
            epochs=a["teacher_epochs"] or a["epochs"],
            holdout=a["holdout"],
        )
        # The model is always named: all tables then share one run of it.
        known = dict(model="", seeds=1, epochs=EPOCHS, holdout=0.0)
        ref = reference("configs/cifar100_teacher.py", own, known)
        c.teacher = dict(config=ref, reduce=a["reduce"])
    return c
