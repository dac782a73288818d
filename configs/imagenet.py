"""Distillation on ImageNet by the recipe of mdistiller's tables: resnet34 to resnet18, resnet50 to
MobileNetV1, any method.

    uv run kd import resnet34.pth --model resnet34 --data imagenet --out runs/imagenet-resnet34 uv
    run kd run --config
    configs/imagenet.py:teacher=resnet34,student=resnet18,method=kd,run=runs/imagenet-resnet34

100 epochs in batches of 512 at learning rate 0.2 (CRD and ReviewKD 256 at 0.1, OFD 128 at 0.05),
times 0.1 after epochs 30, 60 and 90; SGD with momentum 0.9, without Nesterov; weight decay 1e-4;
random resized crops of 224 and flips, evaluated on the middle of an image whose shorter side is
256. Tables use torchvision's weights as teachers (resnet34 73.31 %, resnet50 76.13 %); without
`run` the teacher is trained by the same recipe. `method` is one of METHODS in `configs/common.py`;
`labels`, `tf_kd_reg` and `pskd` have no teacher, and `camkd`, `end2` and `hydra` learn from
several, as do others of `teachers=3`, reduced as `reduce` or else the method says. TFDS's
`imagenet2012` must be prepared as array_record. `workers` processes decode. `epochs` shortens the
schedule, and what an objective does over epochs, in proportion. Not run here: 100 epochs want GPUs
and the data, which need registration.
"""

import difflib

from ml_collections import ConfigDict

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
from configs.crd import shortened

EPOCHS = 100

FAMILY = {
    "resnet18": "resnet",
    "resnet34": "resnet",
    "resnet50": "resnet",
    "MobileNetV1": "mobilenet",
}
"""Network -> file of kd/models."""

# mdistiller configs/imagenet: batch size and learning rate of the methods that have their own.
BATCH = {"crd": (256, 0.1), "crd_kd": (256, 0.1), "reviewkd": (256, 0.1), "ofd": (128, 0.05)}

DEFAULTS = dict(
    teacher="resnet34",
    student="resnet18",
    method="kd",
    run="",  # directory of the teacher's run
    seeds=1,
    seed=0,
    epochs=EPOCHS,
    holdout=0.0,
    workers=8,
    teachers=0,  # 0: as many as the method needs
    reduce="",  # "": the method's, else probs
)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    for name in (a["teacher"], a["student"]):
        if name not in FAMILY:
            near = difflib.get_close_matches(name, FAMILY, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown network {name!r}.{hint} Known: {', '.join(FAMILY)}.")
    c = ConfigDict()
    c.data = dict(name="imagenet", workers=a["workers"])
    c.seed, c.seeds, c.holdout = a["seed"], a["seeds"], a["holdout"]
    c.batch_size, rate = BATCH.get(a["method"], (512, 0.2))
    c.augment = "flip"  # crops are cut out when pictures are decoded
    teacher, student = (dict(name=f"{FAMILY[a[k]]}.{a[k]}") for k in ("teacher", "student"))
    members = a["teachers"] or SEVERAL.get(a["method"], 1)
    c.student = deployed(a["method"], teacher, student, members)
    section = method(a["method"], a["teacher"], a["student"])
    c.objective = shortened(section, a["epochs"], EPOCHS)
    c.optimizer = dict(
        name="sgd", learning_rate=rate, momentum=0.9, nesterov=False, weight_decay=1e-4
    )
    c.schedule = dict(
        name="piecewise", epochs=tuple(e * a["epochs"] / EPOCHS for e in (30, 60, 90)), factor=0.1
    )
    c.epochs = a["epochs"]
    c.steps_per_call = 16  # each a dispatch: so often SIGTERM is heard
    c.eval_batch_size = 256
    c.checkpoint = dict(seconds=600.0)
    if a["method"] in DROP_LAST:
        c.drop_last = True
    if a["method"] in SECOND_VIEW:
        c.second_view = "flip|rand_augment(2)"
    if a["method"] in FIRST.values():
        first_run(c, a["method"])
    if a["method"] in FIRST:
        first = FIRST[a["method"]]
        c.init = dict(
            config=reference("configs/imagenet.py", a, DEFAULTS, method=first),
            take=taken_over(a["method"], ("head",)),
        )
    if a["method"] in TEACHER_FREE:
        return c
    reduce = a["reduce"] or REDUCE.get(a["method"], "probs")
    if a["run"]:
        c.teacher = dict(run=a["run"], reduce=reduce)
    else:
        # By default another order and another start than any student's; named so that all students
        # share it.
        own = dict(student=a["teacher"], method="labels", seed=1000, seeds=members)
        own |= dict(epochs=a["epochs"], holdout=a["holdout"])
        known = dict(student="", method="", seed=0, seeds=1)
        known |= dict(epochs=EPOCHS, holdout=0.0)
        ref = reference("configs/imagenet.py", own, known)
        c.teacher = dict(config=ref, reduce=reduce)
    return c
