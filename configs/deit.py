"""DeiT: vision transformers from labels, and distilled from a convolutional teacher.

    uv run kd import regnet.pth --model my_project.regnet.RegNetY --data imagenet --out runs/regnet
    uv run kd run --config configs/deit.py:method=token,run=runs/regnet
    uv run kd run --config configs/deit.py:data=fashion_mnist,method=token

Touvron et al. Training data-efficient image transformers & distillation through attention. ICML
2021, https://arxiv.org/abs/2012.12877, table 9 and the defaults of the public code: AdamW, learning
rate 5e-4 for each 512 images of a batch of 1024, weight decay 0.05, five epochs of warm-up and half
a cosine over 300 epochs, label smoothing 0.1, stochastic depth 0.1, mixup 0.8 or CutMix 1.0, random
erasing 0.25, each image three times in a batch.
Departures: RandAugment's magnitudes are drawn, not 9 of 10; the mean of the weights over training
is not taken. `method` is one of

- `labels`: cross entropy;
- `soft`, `hard`: distillation without the token, with T = 3 and weight 0.1 of the labels, and with
  equal weights of the label and the teacher's class;
- `token`, `token_soft`: the same two on the distillation token, with the teacher's loss at half;
- `ofa`: exits at each stage of the student (Hao et al. 2023), without mixed images.

`run` is the directory of the teacher's run; without it a ResNet-50 of `configs/imagenet.py` is
trained. The paper's teacher is a RegNetY-16GF, which `kd` does not have. Not run here: 300 epochs
of ImageNet need accelerators and the data.

`data=fashion_mnist` is of a size for two cores: 12,000 images, a fixed choice that is stratified by
class (`images=0`: all 60,000), six epochs, and a ViT of three blocks of width 48 on patches of 7 x
7, so 16 tokens. `network` is `vit`, `cnn` (a student of three stages of 8, 16 and 32 channels) or
`teacher` (of 16, 32 and 64 channels). A teacher is an ensemble of as many members as there are
seeds: of `teacher`, or for the student `cnn` of the ViTs from labels. `mix` mixes images. Images
are not augmented otherwise, so that a teacher's logits are computed once. Distillation is at T = 2
with weight 0.1 of the labels, as in `configs/fashion_mnist.py`. Nothing was tuned.
"""

from ml_collections import ConfigDict

from configs.arguments import check_known, parse_arg, reference
from configs.fashion_mnist import network as cnn
from configs.fashion_mnist import recipe
from configs.methods import METHODS as OBJECTIVES

METHODS = ("labels", "soft", "hard", "token", "token_soft", "ofa")
NETWORKS = ("vit", "cnn", "teacher")
STUDENTS = ("tiny", "small")
DATA = ("imagenet", "fashion_mnist")

DEFAULTS = dict(
    data="imagenet",
    network="vit",  # of data = fashion_mnist
    student="tiny",  # of data = imagenet
    method="labels",
    mix="",  # of data = fashion_mnist
    images=12000,  # of data = fashion_mnist; 0: all
    run="",  # directory of the teacher's run, of data = imagenet
    seeds=1,
    epochs=0,  # 0: 300, or 6 of Fashion-MNIST
    holdout=0.0,
    workers=8,
)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    for key, known in (("data", DATA), ("network", NETWORKS), ("student", STUDENTS)):
        check_known(key, a[key], known)
    check_known("method", a["method"], METHODS)
    return _small(a) if a["data"] == "fashion_mnist" else _imagenet(a)


def _imagenet(a):
    """The paper's recipe."""
    c = ConfigDict()
    c.data = dict(name="imagenet", workers=a["workers"])
    c.seeds, c.holdout = a["seeds"], a["holdout"]
    c.batch_size = 1024
    c.epochs = a["epochs"] or 300
    c.augment = "flip|rand_augment(2, covered=0.0)|erase(0.25)"
    c.repeats = 3
    c.mix = "" if a["method"] == "ofa" else "mixup(0.8) or cutmix(1.0)"
    family = "deit" if a["method"].startswith("token") else "vit"
    c.student = dict(name=f"vit.{family}_{a['student']}_16", drop_path=0.1)
    c.objective = _objective(a["method"], soft=3.0, smoothing=0.1)
    c.optimizer = dict(name="adamw", learning_rate=1e-3, weight_decay=0.05)
    c.schedule = dict(name="cosine", warmup=5.0, end=0.01)
    c.precision = "bfloat16"
    c.steps_per_call = 16
    c.eval_batch_size = 256
    c.checkpoint = dict(seconds=600.0)
    if a["method"] != "labels":
        c.teacher = dict(run=a["run"])
        if not a["run"]:
            c.teacher = dict(config="configs/imagenet.py:student=resnet50,method=labels")
    return c


def _small(a):
    """A size for two cores."""
    epochs = a["epochs"] or 6
    c = recipe(a["seeds"], epochs)
    if a["images"]:
        c.data.update(labelled=a["images"], unlabelled="drop")
    c.holdout, c.mix = a["holdout"], a["mix"]
    c.eval_every = epochs
    if a["network"] == "teacher":
        c.seed = 1000  # other initial weights and another order of examples than any student
        c.student = cnn(16)
        return c
    if a["network"] == "vit":
        family = "DeiT" if a["method"].startswith("token") else "ViT"
        c.student = dict(name=f"vit.{family}", patch=7, width=48, depth=3, heads=3, mlp_ratio=2.0)
        c.student["activation"] = "quick_gelu"
        c.optimizer = dict(name="adamw", learning_rate=1e-3, weight_decay=0.05)
        c.batch_size = 64
        c.seeds_how = "map"
    else:
        c.student = cnn(8)
    c.objective = _objective(a["method"], soft=2.0, smoothing=0.0)
    if a["method"] != "labels":
        network = "teacher" if a["network"] == "vit" else "vit"
        options = dict(network=network, method="labels", mix="")
        c.teacher = dict(config=reference("configs/deit.py", a, DEFAULTS, **options))
        c.teacher.cache = not a["mix"]
    return c


def _objective(method, soft, smoothing):
    """The section `objective` of a method, soft targets being at T = `soft`."""
    ce = lambda weight: dict(name="ce.CE", weight=weight, smoothing=smoothing)
    if method.startswith("token"):
        kind = "soft" if method.endswith("soft") else "hard"
        return dict(deit=dict(name="deit.DeiT", kind=kind, temperature=soft, smoothing=smoothing))
    if method == "soft":
        return dict(ce=ce(0.1), kd=dict(name="kd.KD", weight=0.9, temperature=soft))
    if method == "hard":
        return dict(ce=ce(0.5), kd=dict(name="kd.HardLabel", weight=0.5))
    return dict(ce=ce(1.0)) | (dict(ofa=OBJECTIVES["ofa"]["ofa"]) if method == "ofa" else {})
