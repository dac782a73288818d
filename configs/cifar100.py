"""Distillation on CIFAR-100 by the recipe of the field's tables (Tian et al. 2020): any pair of the
zoo, any method.

    uv run kd prepare cifar100
    uv run kd run --config configs/cifar100.py:teacher=resnet32x4,student=resnet8x4,method=kd

`method` is one of METHODS in `configs/common.py`, whose settings are those of the papers, per pair
where they tuned them; `labels`, `tf_kd_reg` and `pskd` have no teacher. The teacher is trained by
`configs/cifar100_teacher.py` where it is missing, or is the run `run=DIRECTORY`. `teachers=3`
learns from an ensemble of three, reduced as `reduce` or else the method says. `epochs` shortens
student, teacher and what an objective does over epochs in proportion, `teacher_epochs` the teacher
alone; `holdout=0.1` evaluates both on a share of train, for choices. `precision` is that of
training, see kd/devices/precision.py; `data` another set of images by the same recipe. Not run here
in full: 240 epochs want a GPU, which experiments/launch/gpu.sh drives.

FSP, AB, FT and the two stages of FitNets (`method=fitnet_second`) are two runs. The first,
`method=fsp_first` and so on, is trained where it is missing, an eighth of the epochs at a constant
rate.
"""

from configs.common import (
    DROP_LAST,
    FIRST,
    REDUCE,
    SECOND_VIEW,
    SEVERAL,
    TEACHER_FREE,
    deployed,
    first_run,
    method,
    parse_arg,
    reference,
    taken_over,
)
from configs.crd import EPOCHS, beyond, network, recipe, shortened

DEFAULTS = dict(
    teacher="resnet32x4",
    student="resnet8x4",
    method="kd",
    run="",
    teachers=0,  # 0: as many as the method needs
    reduce="",  # "": the method's, else probs
    seeds=1,
    epochs=EPOCHS,
    teacher_epochs=0,  # 0: as many as the student
    holdout=0.0,
    precision="default",
    data="cifar100",
)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    teacher, student = network(a["teacher"]), network(a["student"])
    c = recipe(a["student"], a["seeds"], a["epochs"], a["holdout"])
    c.precision, c.data.name = a["precision"], a["data"]
    members = a["teachers"] or SEVERAL.get(a["method"], 1)
    c.student = deployed(a["method"], teacher, student, members)
    section = method(a["method"], a["teacher"], a["student"])
    c.objective = shortened(section, a["epochs"])
    if a["method"] in DROP_LAST:
        c.drop_last = True
    if a["method"] in SECOND_VIEW:
        c.second_view = SECOND_VIEW[a["method"]]
    if a["method"] in FIRST.values():
        first_run(c, a["method"])
    if a["method"] == "ft_first" and a["student"].startswith(("resnet", "wrn")):
        c.optimizer.learning_rate = 0.01  # RepDistiller, helper/pretrain.py
    if a["method"] in FIRST:
        first = FIRST[a["method"]]
        c.init = dict(
            config=reference("configs/cifar100.py", a, DEFAULTS, method=first),
            take=taken_over(a["method"], beyond(a["student"])),
        )
    if a["method"] in TEACHER_FREE:
        return c
    reduce = a["reduce"] or REDUCE.get(a["method"], "probs")
    if a["run"]:
        c.teacher = dict(run=a["run"], reduce=reduce)
    else:
        own = dict(
            model=a["teacher"],
            seeds=members,
            epochs=a["teacher_epochs"] or a["epochs"],
            holdout=a["holdout"],
            precision=a["precision"],
            data=a["data"],
        )
        # The model is always named: all tables then share one run of it.
        known = dict(
            model="", seeds=1, epochs=EPOCHS, holdout=0.0, precision="default", data="cifar100"
        )
        ref = reference("configs/cifar100_teacher.py", own, known)
        c.teacher = dict(config=ref, reduce=reduce)
    return c
