"""Teachers of the CIFAR-100 tables: any network of `configs/crd.py`, trained on labels.

    uv run kd prepare cifar100
    uv run kd run --config configs/cifar100_teacher.py:model=resnet32x4

The recipe is that of `configs/crd.py`. RepDistiller published (last epoch, test accuracy in %):
wrn_40_2 75.61, resnet56 72.34, resnet110 74.31, resnet32x4 79.42, vgg13 74.64, ResNet50 79.34. Not
run here in full: 240 epochs need a GPU. `epochs` shortens the schedule in proportion; `holdout=0.1`
evaluates on a tenth of the training images, for choices.
"""

from configs.arguments import parse_arg
from configs.crd import EPOCHS, PLACED, placed, recipe

DEFAULTS = dict(
    model="resnet32x4",
    seeds=1,
    seed=1000,
    epochs=EPOCHS,
    holdout=0.0,
    **PLACED,
)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    c = recipe(a["model"], a["seeds"], a["epochs"], a["holdout"])
    placed(c, a)
    c.seed = a["seed"]  # by default other initial weights and another order than any student
    return c
