"""CIFAR-10: a network of the CIFAR tables and MLPerf Tiny's ResNet-8, a microcontroller benchmark.

    uv run kd prepare cifar10
    uv run kd run --config configs/mlperf_tiny.py

Published (Banbury et al. 2021, https://arxiv.org/abs/2106.07597, and the repository
mlcommons/tiny): 78,666 numbers, of which 78,186 are trained, 12.5 M multiply-accumulates, 96 KB as
int8, a quality target of 85 % (top 1). They train on labels for 500 epochs of Adam with rotations
and shifts; here student and teacher follow the recipe of the CIFAR tables (`configs/crd.py`).

`:role=student` (the default) is distilled from `:role=teacher`, and `:role=labels` is the same
student without a teacher. `:teacher=resnet32x4` takes another network of `configs/crd.py`,
`:epochs=60` shortens all three schedules, `:holdout=0.1` evaluates on a tenth of the training
images, for choices. Not run here in full: 240 epochs need a GPU.
"""

from configs.arguments import parse_arg, reference
from configs.crd import EPOCHS, recipe
from configs.methods import METHODS

DEFAULTS = dict(role="student", teacher="wrn_40_2", seeds=5, epochs=EPOCHS, holdout=0.0)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    if a["role"] not in ("student", "teacher", "labels"):
        raise ValueError(f"role={a['role']}: expected student, teacher or labels.")
    ref = lambda **changes: reference("configs/mlperf_tiny.py", a, DEFAULTS, **changes)
    seeds = 1 if a["role"] == "teacher" else a["seeds"]
    c = recipe(a["teacher"], seeds, a["epochs"], a["holdout"])
    c.data = dict(name="cifar10")
    if a["role"] == "teacher":
        c.seed = 1000  # other initial weights and another order of examples than any student
        return c
    c.student = dict(name="resnet_tiny.ResNet8")
    c.optimizer.learning_rate = 0.05
    if a["role"] == "student":
        c.teacher = dict(config=ref(role="teacher", seeds=DEFAULTS["seeds"]))
        c.objective = METHODS["kd"]
        labels = ref(role="labels", teacher=DEFAULTS["teacher"])
        c.compare = {"student from labels": labels}
    return c
