"""FunMatch: the teacher and the student see one aggressive mixup, for many epochs.

    uv run kd run --config configs/funmatch.py:run=runs/imagenet-resnet152
    uv run kd run --config configs/funmatch.py:data=fashion_mnist,times=10

Beyer, Zhai, Royer, Markeeva, Anil, Kolesnikov. Knowledge distillation: A good teacher is patient
and consistent. CVPR 2022, https://arxiv.org/abs/2106.05237, with the settings of the public code
(big_vision, configs/proj/distill/bit_i1k.py): KL with the teacher at T = 1, without labels; images
mixed by mixup(1.0), of random resized crops and flips; Adam at 0.03, decoupled weight decay of
3e-4 (which does not depend on the learning rate there: 0.01 times it), 5,000 steps of warm-up and
half a cosine, gradients clipped at 1, batches of 4096, 1,200 epochs. The paper's teacher is a
BiT-M-R152x2, which `kd` does not have: `run` is the directory of any teacher's run. Not run here.

`view` says what both networks see:

- `fixed`: images as they are, with targets computed once ("fix/rs" in the paper);
- `same`: the same random crop, the teacher evaluated in each step;

and `mix` how images are mixed, `mixup(1.0)` by default, which needs no labels; `none`: not at all.

`data=fashion_mnist` is of a size for two cores: the 12,000 images and one of the teachers of
`configs/deit.py:data=fashion_mnist`, a student of three stages of 4, 8 and 16 channels, AdamW at
3e-3, and `times` as many epochs as the short run's two. Crops move an image by up to two pixels and
flip it. Nothing was tuned.
"""

from ml_collections import ConfigDict

from configs.arguments import check_known, parse_arg
from configs.fashion_mnist import network as cnn

DATA = ("imagenet", "fashion_mnist")
VIEWS = ("fixed", "same")
SHORT = 2
"""Epochs of the shortest run on Fashion-MNIST."""

DEFAULTS = dict(
    data="imagenet",
    view="same",
    mix="mixup(1.0)",  # "none": not at all
    times=1,  # of data = fashion_mnist
    run="",  # directory of the teacher's run, of data = imagenet
    seeds=1,
    epochs=1200,  # of data = imagenet
    holdout=0.0,
    workers=8,
)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    check_known("data", a["data"], DATA)
    check_known("view", a["view"], VIEWS)
    c = ConfigDict()
    c.seeds, c.holdout = a["seeds"], a["holdout"]
    c.mix = "" if a["mix"] == "none" else a["mix"]
    c.objective = dict(kd=dict(name="kd.KD", temperature=1.0))
    if a["data"] == "imagenet":
        return _imagenet(c, a)
    c.data = dict(name="fashion_mnist", labelled=12000, unlabelled="drop")
    c.batch_size, c.epochs = 128, SHORT * a["times"]
    c.eval_every = c.epochs
    c.steps_per_call = 20
    c.augment = "crop(2)|flip" if a["view"] == "same" else ""
    c.student = cnn(4)
    c.optimizer = dict(name="adamw", learning_rate=3e-3, weight_decay=0.01, clip_norm=1.0)
    c.schedule = dict(name="cosine", warmup=0.1 * c.epochs)
    teacher = f"configs/deit.py:data=fashion_mnist,network=teacher,seeds=5,holdout={a['holdout']}"
    teacher = teacher.removesuffix(",holdout=0.0")
    cached = a["view"] == "fixed" and not c.mix
    c.teacher = dict(config=teacher, members=(0,), cache=cached)
    return c


def _imagenet(c, a):
    """The recipe of the public code."""
    c.data = dict(name="imagenet", workers=a["workers"])
    if a["view"] == "fixed":
        raise ValueError("view=fixed: ImageNet's images are cropped anew in each epoch.")
    c.batch_size, c.epochs = 4096, a["epochs"]
    c.augment = "flip"  # crops are made when images are decoded
    c.student = dict(name="resnet.resnet50")
    c.optimizer = dict(name="adamw", learning_rate=0.03, weight_decay=0.01, clip_norm=1.0)
    c.schedule = dict(name="cosine", warmup=min(5000 / 313, 0.1 * a["epochs"]))
    c.precision = "bfloat16"
    c.steps_per_call = 16
    c.eval_batch_size = 256
    c.checkpoint = dict(seconds=600.0)
    c.teacher = dict(run=a["run"])
    if not a["run"]:
        c.teacher = dict(config="configs/imagenet.py:student=resnet34,method=labels")
    return c
