"""Fashion-MNIST at 14 x 14 pixels, 12,000 training images: every method of METHODS.

    uv run kd prepare fashion_mnist
    uv run kd run --config configs/fashion_methods.py:method=at

`method` is a key of METHODS in `configs/methods.py`, with the papers' settings; `weight=0.1`
multiplies the weights of the method's own terms, in the run that has them, and `relation=0.0025`
those of MLKD's relations alone, which grow with images per class. Schedules in epochs are the
papers' in proportion. FSP, AB, FT and the two stages of FitNets are two runs, the first of one
epoch, as in `configs/cifar100.py`.

The student (8, 16 and 32 channels) and its teacher (16, 32 and 64, two convolutions in each stage)
are of one family. `student=wide` has the teacher's widths, as FSP needs, and `student=mlp` is of
another family, three layers of 64 units without normalisation, at a fifth of the learning rate, as
CRD's public code has it for MobileNet and ShuffleNet: at the full rate CRD, DKD, DIST and SRRL
diverge. `role=teacher` trains teachers, of which there are three: most methods have the first,
those of ensembles all. `method=tf_kd_self` has the student's network as the teacher, `role=itself`.
`method=labels,strong` smooths the labels and mixes images.

12,000 of the 60,000 training images, a fixed choice with the classes' frequencies, are all that
teachers and students learn from; `images=60000` takes all. `holdout=0.1` evaluates on 6,000 other
training images instead of the test set, for choices. `smoke` is one epoch on the 8 x 8 digits of
scikit-learn.

Nothing was tuned but weights of methods, see `experiments/methods_choices.py`.
"""

from ml_collections import ConfigDict

from configs.arguments import check_known, parse_arg, reference
from configs.crd import shortened
from configs.fashion_mnist import strengthen
from configs.methods import (
    FIRST,
    METHODS,
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
    role="student",
    method="kd",
    weight=1.0,
    relation=1.0,
    strong=False,
    student="cnn",
    seeds=5,
    epochs=8,
    images=12000,
    holdout=0.0,
    smoke=False,
)
FILE = "configs/fashion_methods.py"

TEACHER = dict(name="cnn.CNN", widths=(16, 32, 64), depth=2)
STUDENTS = {
    "cnn": dict(name="cnn.CNN", widths=(8, 16, 32)),
    "wide": dict(name="cnn.CNN", widths=(16, 32, 64)),
    "mlp": dict(name="mlp.MLP", widths=(64, 64, 64)),
}

TEACHERS = 3
"""Teachers in one run: most methods have the first, those of ensembles all."""

CACHED = (
    "kd",
    "logit_mse",
    "hard_label",
    "kd_ls",
    "dkd",
    "dkd_ls",
    "dist",
    "nkd",
    "wsld",
    "ttm",
    "wttm",
    "tf_kd_self",
    "camkd",
    "end2",
    "hydra",
)
"""Methods that need nothing of a teacher but its logits, which are computed once."""


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    check_known("role", a["role"], ("student", "teacher", "itself"))
    check_known("student", a["student"], STUDENTS)
    if a["role"] == "student":
        return student(a)
    c = recipe(a)
    c.seed = 1000  # other initial weights and another order of examples than any student
    c.student = STUDENTS[a["student"]]
    if a["role"] == "teacher":
        c.student = TEACHER
        c.augment = "flip"
        c.epochs = c.eval_every = 1 if a["smoke"] else 24
    return c


def recipe(a):
    """The config that trains on labels, but for the network."""
    c = ConfigDict()
    c.data = dict(name="digits")
    if not a["smoke"]:
        c.data = dict(name="thumbnails", source="fashion_mnist", factor=2)
    if a["images"] < 60000 and not a["smoke"]:
        c.data.labelled = a["images"]
        c.data.unlabelled = "drop"
    c.seeds = a["seeds"]
    c.holdout = a["holdout"]
    c.epochs = c.eval_every = 1 if a["smoke"] else a["epochs"]
    c.batch_size = 128
    rate = 0.02 if a["student"] == "mlp" and a["role"] != "teacher" else 0.1
    c.optimizer = dict(name="sgd", learning_rate=rate, nesterov=True, weight_decay=5e-4)
    c.schedule = dict(name="cosine", warmup=0.0 if a["smoke"] else 1.0)
    c.steps_per_call = 20
    c.objective = dict(ce=dict(name="ce.CE"))
    return c


def student(a):
    """The config of a student by one of the methods."""
    c, name = recipe(a), a["method"]
    members = TEACHERS if name in SEVERAL else 1
    c.student = deployed(name, TEACHER, STUDENTS[a["student"]], members)
    c.objective = weighted(shortened(method(name, "", ""), c.epochs), a["weight"])
    if "crd" in c.objective:  # as large a part of the images as 16,384 of CIFAR-100's 50,000
        images = 1437 if a["smoke"] else a["images"]
        c.objective.crd.num_negatives = round(images * 16384 / 50000)
    if "mlkd" in c.objective and a["relation"] != 1:
        c.objective.mlkd.relation = (0.5 * a["relation"], 0.0)
    if "fsp" in c.objective:  # by default it also asks for the stem of a residual network
        c.objective.fsp.features = ("stage1", "stage2", "stage3")
    if a["strong"]:
        strengthen(c)
    complete(c, name, "crop(1)|flip|rand_augment(2)")
    if name in FIRST.values():
        first_run(c, name)
        c.eval_every = c.epochs
    if name in FIRST:
        # The weight is that of the run that has the method's terms: FSP and AB have them in the
        # first.
        weight = a["weight"] if METHODS[name] == METHODS["labels"] else 1.0
        first = reference(FILE, a, DEFAULTS, method=FIRST[name], weight=weight)
        c.init = dict(config=first, take=taken_over(name, ("head",)))
    if name in TEACHER_FREE:
        return c
    itself = name == "tf_kd_self"
    changes = {k: DEFAULTS[k] for k in ("method", "weight", "relation", "strong")}
    if itself:
        options = dict(a, **changes, role="itself", seeds=1)
    else:
        changes |= {k: DEFAULTS[k] for k in ("student", "epochs")}
        # Choices on held-out images are about methods with one teacher.
        seeds = TEACHERS if members > 1 or not a["holdout"] else 1
        options = dict(a, **changes, role="teacher", seeds=seeds)
    c.teacher = dict(
        config=reference(FILE, options, DEFAULTS),
        members="all" if itself or members > 1 else "0",
        reduce=REDUCE.get(name, "probs"),
        cache=name in CACHED,
    )
    return c


def weighted(objective, times):
    """The section `objective` with the weights of the method's own terms multiplied.

    Cross entropy is none of them, nor is the KD that some methods have beside them.
    """
    beside = ("ce", "kd") if len(objective.keys() - {"ce"}) > 1 else ("ce",)
    for term, spec in objective.items():
        weight = spec.get("weight", 1.0)
        if term in beside or times == 1:
            continue
        if isinstance(weight, dict):
            spec["weight"] = {**weight, "value": times * weight.get("value", 1.0)}
        else:
            spec["weight"] = times * weight
    return objective
