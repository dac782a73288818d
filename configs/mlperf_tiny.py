"""MLPerf Tiny, a benchmark of microcontrollers: its networks, each from a larger teacher.

    uv run kd prepare cifar10
    uv run kd run --config configs/mlperf_tiny.py                     # ResNet-8 from a WRN
    uv run kd run --config configs/mlperf_tiny.py:from=ic02           # from the suite's larger one
    uv run kd run --config configs/mlperf_tiny.py:task=kws,path=kws.npz
    uv run kd run --config configs/mlperf_tiny.py:task=vww,path=vw_coco2014_96

Published (Banbury et al. 2021, https://arxiv.org/abs/2106.07597, and the repository
mlcommons/tiny); numbers count BatchNorm's statistics, constants are those of the int8 file:

| task | student | numbers | constants | MACs | target, top 1 | teacher here |
|---|---|---|---|---|---|---|
| ic, IC01 | ResNet-8 | 78,666 | 77,708 | 12.5 M | 85 % | a network of configs/crd.py, or IC02 |
| ic, IC02 | ResNet-8, 40 channels | 482,730 | 480,332 | 76.5 M | 91 % | (is one: `from=ic02`) |
| kws | DS-CNN | 24,908 | 22,606 | 2.66 M | 90 % | the same with 276 channels |
| vww | MobileNetV1, a quarter | 221,794 | 210,852 | 7.49 M | 80 % | the same at full width |

They train on labels: `ic` for 500 epochs of Adam, `kws` for 36, `vww` for 50, with the rates that
are used here; an L2 term of 1e-4 is AdamW's decay here, and rotations, zoom and noise are left out.
For `ic`, student and teacher follow the recipe of the CIFAR tables (`configs/crd.py`).

`kd` prepares CIFAR-10 alone. Speech Commands as MFCCs: `path` is an `.npz` with x_train float
[n, 49, 10], y_train [n] of 12 classes, x_test, y_test. Visual Wake Words: `path` is the directory
of 96 x 96 pictures of the suite's script, a folder for each of the two classes, or an `.npz` of
x_train uint8 [n, 96, 96, 3] and so on.

`:role=student` (the default) is distilled from `:role=teacher`, and `:role=labels` is the same
student without a teacher. `:teacher=resnet32x4` takes another network of `configs/crd.py`,
`:epochs=60` shortens all three schedules, `:holdout=0.1` evaluates on a tenth of the training
images, for choices. Not run here in full: they need a GPU, and data that are not here.
"""

from ml_collections import ConfigDict

from configs.arguments import check_known, parse_arg, reference
from configs.crd import EPOCHS, recipe
from configs.methods import METHODS

DEFAULTS: dict = dict(
    role="student",
    teacher="wrn_40_2",
    seeds=5,
    epochs=0,  # 0: as many as the recipe of the task
    holdout=0.0,
    task="ic",
    path="",
)
DEFAULTS["from"] = ""  # "ic02": the teacher is the suite's larger image network

IC01 = dict(name="resnet_tiny.ResNet8")
IC02 = dict(name="resnet_tiny.ResNet8", width=40)

TASKS = {
    "kws": dict(
        data=dict(name="arrays", path="kws.npz"),
        student=dict(name="ds_cnn.DSCNN"),
        teacher=dict(name="ds_cnn.DSCNN", width=276),  # of Hello Edge's largest DS-CNN
        batch_size=100,
        epochs=36,
        learning_rate=5e-4,
        schedule=((12, 24), 0.2),
    ),
    "vww": dict(
        data=dict(name="folder", path="vw_coco2014_96", size=96, test_fraction=0.1),
        student=dict(name="mobilenet_tiny.MobileNetTiny"),
        teacher=dict(name="mobilenet_tiny.MobileNetTiny", width=32),
        batch_size=32,
        epochs=50,
        learning_rate=1e-3,
        schedule=((20, 30), 0.5),
        augment="crop(5)|flip",
    ),
}
"""Tasks whose data are a user's. `schedule` is (epochs, factor) of the published rate."""


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    if a["role"] not in ("student", "teacher", "labels"):
        raise ValueError(f"role={a['role']}: expected student, teacher or labels.")
    check_known("task", a["task"], ("ic", *TASKS))
    check_known("network to distil from", a["from"], ("", "ic02"))
    of_images = a["task"] == "ic"
    full = EPOCHS if of_images else TASKS[a["task"]]["epochs"]
    if a["epochs"] == full:
        a["epochs"] = 0  # one name of one run
    if a["from"] and (not of_images or a["teacher"] != DEFAULTS["teacher"]):
        raise ValueError("from=ic02 is a teacher of task=ic: leave task and teacher out.")
    if a["path"] and of_images:
        raise ValueError("path is for task=kws and task=vww; `kd prepare cifar10` has task=ic's.")
    if a["path"] and a["task"] == "kws" and not a["path"].endswith(".npz"):
        raise ValueError(f"path={a['path']}: task=kws takes one .npz with x_train, y_train, ...")
    ref = lambda **changes: reference("configs/mlperf_tiny.py", a, DEFAULTS, **changes)
    seeds = 1 if a["role"] == "teacher" else a["seeds"]
    epochs = a["epochs"] or full
    c = _images(a, seeds, epochs) if of_images else _of_users(a, seeds, epochs)
    if a["role"] == "teacher":
        c.seed = 1000  # other initial weights and another order of examples than any student
    if a["role"] == "student":
        c.teacher = dict(config=ref(role="teacher", seeds=DEFAULTS["seeds"]))
        c.objective = METHODS["kd"]
        labels = {"role": "labels", "teacher": DEFAULTS["teacher"], "from": ""}
        c.compare = {"student from labels": ref(**labels)}
    return c


def _images(a: dict, seeds: int, epochs: int) -> ConfigDict:
    """CIFAR-10 by the recipe of the CIFAR tables."""
    c = recipe(a["teacher"], seeds, epochs, a["holdout"])
    c.data = dict(name="cifar10")
    if a["role"] != "teacher":
        c.student = IC01
    elif a["from"]:
        c.student = IC02
    if a["role"] != "teacher" or a["from"]:
        c.optimizer.learning_rate = 0.05
    return c


def _of_users(a: dict, seeds: int, epochs: int) -> ConfigDict:
    """Keywords or persons by the suite's recipe, on a user's data."""
    task = TASKS[a["task"]]
    places, factor = task["schedule"]
    c = ConfigDict()
    c.data = task["data"] | ({"path": a["path"]} if a["path"] else {})
    if a["path"].endswith(".npz"):
        c.data = dict(name="arrays", path=a["path"])
    c.seeds, c.holdout, c.epochs = seeds, a["holdout"], epochs
    c.batch_size, c.augment = task["batch_size"], task.get("augment", "")
    c.student = task["teacher" if a["role"] == "teacher" else "student"]
    c.objective = dict(ce=dict(name="ce.CE"))
    c.optimizer = dict(name="adamw", learning_rate=task["learning_rate"], weight_decay=1e-4)
    c.schedule = dict(
        name="piecewise",
        epochs=tuple(place * epochs / task["epochs"] for place in places),
        factor=factor,
    )
    return c
