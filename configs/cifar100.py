"""CIFAR-100: any pair of networks, any method, by the recipe of the reference tables.

    uv run kd prepare cifar100
    uv run kd run --config configs/cifar100.py:teacher=resnet32x4,student=resnet8x4,method=kd

The recipe is that of Tian et al. (2020), see `configs/crd.py`. Options:

- `teacher`, `student`: networks of `configs/crd.py`.
- `method`: a key of METHODS in `configs/methods.py`, with the papers' settings, per pair where they
  tuned them. `labels`, `tf_kd_reg` and `pskd` have no teacher. FSP, AB, FT and the two stages
  of FitNets (`method=fitnet_second`) take two runs. The first (`method=fsp_first` and so on) has an
  eighth of the epochs at a constant rate, and is trained if it is missing.
- `run`: the directory of the teacher's run. Without it the teacher is trained by
  `configs/cifar100_teacher.py` if it is missing.
- `teachers=3`: an ensemble of three; `reduce` replaces the method's reduction.
- `epochs` shortens the runs of student and teacher, and schedules of the objective in proportion;
  `teacher_epochs` is for the teacher only.
- `holdout=0.1` evaluates student and teacher on a tenth of the training images, for choices.
- `precision` is that of training, see kd/devices/precision.py; `how` is `seeds_how`, and `loop` as
  in every config.
- `data`: another data set, by the same recipe; `path`: its images in one `.npz` file.

Not run here in full: 240 epochs need a GPU. experiments/launch/gpu.sh --part full
runs them there.
"""

from configs.arguments import parse_arg, reference
from configs.crd import EPOCHS, PLACED, beyond, network, placed, recipe, shortened
from configs.methods import (
    FIRST,
    REDUCE,
    SEVERAL,
    TEACHER_FREE,
    complete,
    deployed,
    first_run,
    method,
    taken_over,
)

DEFAULTS = dict(
    teacher="resnet32x4",
    student="resnet8x4",
    method="kd",
    run="",
    teachers=0,  # 0: as many as the method needs
    reduce="",  # "": that of the method, else probs
    seeds=1,
    epochs=EPOCHS,
    teacher_epochs=0,  # 0: as many as the student
    holdout=0.0,
    **PLACED,
)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    teacher, student = network(a["teacher"]), network(a["student"])
    c = recipe(a["student"], a["seeds"], a["epochs"], a["holdout"])
    placed(c, a)
    members = a["teachers"] or SEVERAL.get(a["method"], 1)
    c.student = deployed(a["method"], teacher, student, members)
    section = method(a["method"], a["teacher"], a["student"])
    c.objective = shortened(section, a["epochs"])
    complete(c, a["method"])
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
        options = dict(
            model=a["teacher"],
            seeds=members,
            epochs=a["teacher_epochs"] or a["epochs"],
            holdout=a["holdout"],
            precision=a["precision"],
            loop=a["loop"],
            data=a["data"],
            path=a["path"],
        )
        # No default model: the reference always names it, so that all tables share one run.
        defaults = dict(model="", seeds=1, epochs=EPOCHS, holdout=0.0, **PLACED)
        ref = reference("configs/cifar100_teacher.py", options, defaults)
        c.teacher = dict(config=ref, reduce=reduce)
    return c
