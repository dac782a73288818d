"""ImageNet: resnet34 to resnet18 or resnet50 to MobileNetV1, any method, by mdistiller's recipe.

    uv run kd import resnet34.pth --model resnet34 --data imagenet --out runs/imagenet-resnet34
    uv run kd run --config configs/imagenet.py:method=kd,run=runs/imagenet-resnet34

100 epochs in batches of 512 at learning rate 0.2 (CRD and ReviewKD 256 at 0.1, OFD 128 at 0.05),
times 0.1 after epochs 30, 60 and 90; SGD with momentum 0.9, without Nesterov; weight decay 1e-4;
random resized crops of 224 and flips, evaluated on the central crop of an image whose shorter side
is 256. Published tables use torchvision's weights as teachers (resnet34 73.31 %, resnet50 76.13 %).
TFDS's `imagenet2012` must be prepared as array_record. Options:

- `teacher`, `student`: names in FAMILY (default: resnet34, resnet18).
- `method`: a key of METHODS in `configs/methods.py`. `labels`, `tf_kd_reg` and `pskd` have no
  teacher; `camkd`, `end2` and `hydra` learn from several.
- `run`: the directory of the teacher's run. Without it the teacher is trained by the same recipe.
- `teachers=3`: an ensemble of three; `reduce` replaces the method's reduction.
- `workers`: the number of processes that decode images.
- `epochs` shortens the schedule, and schedules of the objective, in proportion.

Not run here: 100 epochs need GPUs and the data, which require registration.
"""

from ml_collections import ConfigDict

from configs.arguments import check_known, parse_arg, reference
from configs.crd import shortened
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

EPOCHS = 100

FAMILY = {
    "resnet18": "resnet",
    "resnet34": "resnet",
    "resnet50": "resnet",
    "MobileNetV1": "mobilenet",
}
"""Network -> file in kd/models."""

# mdistiller configs/imagenet: (batch size, learning rate) of methods that do not use (512, 0.2).
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
    reduce="",  # "": that of the method, else probs
)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    for name in (a["teacher"], a["student"]):
        check_known("network", name, FAMILY)
    c = ConfigDict()
    c.data = dict(name="imagenet", workers=a["workers"])
    c.seed, c.seeds, c.holdout = a["seed"], a["seeds"], a["holdout"]
    c.batch_size, rate = BATCH.get(a["method"], (512, 0.2))
    c.augment = "flip"  # crops are made when images are decoded
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
    c.steps_per_call = 16  # SIGTERM is handled between dispatches
    c.eval_batch_size = 256
    c.checkpoint = dict(seconds=600.0)
    complete(c, a["method"], second_view="flip|rand_augment(2)")
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
        # Another seed than any student by default. The reference always names network and method,
        # so that all students share the run.
        options = dict(student=a["teacher"], method="labels", seed=1000, seeds=members)
        options |= dict(epochs=a["epochs"], holdout=a["holdout"])
        defaults = dict(student="", method="", seed=0, seeds=1)
        defaults |= dict(epochs=EPOCHS, holdout=0.0)
        ref = reference("configs/imagenet.py", options, defaults)
        c.teacher = dict(config=ref, reduce=reduce)
    return c
