"""Runs of the claims in `experiments/claims`: small networks that learn from labels or in a chain.

    uv run kd prepare fashion_mnist
    uv run kd run --config configs/claims.py:net=32,chain=200x200,T=2

`net` is the student: the units of its hidden layers, such as 200x200. `chain` are its teachers,
such as 400x400-128: the first learns from labels, each other one from the one before it, the
student from the last. Empty: the student learns from labels. Student i learns from teacher i, so
that each seed is an independent pair; with `together` all learn from the ensemble of the teachers.
With `from_teacher` student i begins with the weights of teacher i.

`T` is the temperature, `hard` the weight of the labels and 1 - `hard` that of the teacher. `method`
is one of METHODS in `configs/methods.py`, with its settings there; warm-ups are shortened in
proportion, and `end2` anneals from a quarter to three quarters of the epochs. `views` is the number
of epochs after which the augmented views of an image repeat, 0: never. `images` is the number of
training images, 0: all; `unlabelled` keeps the others without a label. `smoothing` smooths the
labels, `augment` is that of the config. `t_images`, `t_epochs`, `t_smoothing` and `t_augment` are
the same of all teachers. `smoke` is a miniature on the 8 x 8 digits of scikit-learn.

Learning rate, batch size and number of epochs are first guesses that were kept: nothing was chosen
on test images.
"""

from ml_collections import ConfigDict

from configs.arguments import parse_arg, reference
from configs.methods import complete, deployed, method

FILE = "configs/claims.py"
DEFAULTS = dict(
    net="32",
    chain="",
    data="fashion_mnist",
    images=6000,
    unlabelled=False,
    epochs=40,
    smoothing=0.0,
    augment="",
    views=0,
    method="kd",
    T=2.0,
    hard=0.1,
    together=False,
    from_teacher=False,
    t_images=6000,
    t_epochs=40,
    t_smoothing=0.0,
    t_augment="",
    seeds=5,
    smoke=False,
)
OF_STUDENT = ("method", "T", "hard", "views", "together", "from_teacher", "unlabelled")
"""Options that a teacher which learns from labels does not have."""

PAPER_EPOCHS = 240
"""Epochs of the recipe for which the settings of METHODS were made."""


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    chain = a["chain"].split("-") if a["chain"] else []
    c = recipe(a)
    c.seed = 1000 * len(chain)  # other initial weights and another order than the teachers
    if not chain:
        c.objective = dict(ce=dict(name="ce.CE"))
        if a["smoothing"]:
            c.objective.ce.smoothing = a["smoothing"]
        return c
    teacher = of_teacher(a, chain)
    c.teacher = dict(config=teacher, cache=not a["augment"])
    if not a["together"]:
        c.teacher.members = "paired"
    if a["views"]:
        c.teacher.cache_window = a["views"]
    if a["from_teacher"]:
        c.init = dict(config=teacher)
    c.objective = ConfigDict(objective(a))
    complete(c, a["method"])
    c.student = deployed(a["method"], {}, c.student.to_dict(), a["seeds"])
    return c


def recipe(a):
    """The config without what the network learns from."""
    c = ConfigDict()
    c.data = dict(name="digits" if a["smoke"] else a["data"])
    if a["images"]:
        c.data.labelled = 200 if a["smoke"] else a["images"]
        if not a["unlabelled"]:
            c.data.unlabelled = "drop"
    c.augment = a["augment"]
    c.student = dict(name="mlp.MLP", widths=tuple(int(n) for n in a["net"].split("x")))
    c.seeds = a["seeds"]
    c.epochs = 1 if a["smoke"] else a["epochs"]
    c.eval_every = max(1, c.epochs // 4)
    c.batch_size = 128
    c.optimizer = dict(name="adamw", learning_rate=2e-3, weight_decay=1e-4)
    c.schedule = dict(name="cosine", warmup=0.5)
    return c


def of_teacher(a, chain):
    """The reference of the last network of a chain."""
    changes = {key[2:]: a[key] for key in a if key.startswith("t_")}
    changes |= {key: DEFAULTS[key] for key in (*OF_STUDENT[-3:],)}
    if len(chain) == 1:
        changes |= {key: DEFAULTS[key] for key in (*OF_STUDENT, *(k for k in a if k[:2] == "t_"))}
    return reference(FILE, a, DEFAULTS, net=chain[-1], chain="-".join(chain[:-1]), **changes)


def objective(a):
    """The section `objective` of a student."""
    if a["method"] == "kd":
        kd = dict(name="kd.KD", weight=1 - a["hard"], temperature=a["T"])
        return dict(ce=dict(name="ce.CE", weight=a["hard"]), kd=kd) if a["hard"] else dict(kd=kd)
    terms = method(a["method"], "", "")
    for term in terms.values():
        if "warmup_epochs" in term:
            term["warmup_epochs"] = round(term["warmup_epochs"] * a["epochs"] / PAPER_EPOCHS)
    if a["method"] == "end2":
        hold, falling = (0, 0) if a["smoke"] else (a["epochs"] // 4, a["epochs"] // 2)
        terms["end2"].update(hold=hold, epochs=falling)
    return terms


def experiment(arg, title, note="", **content):
    """What the files of `experiments/claims` return: an experiment of these runs.

    Args:
      arg: of the file: None, or "smoke" for a miniature.
      title: of the claim.
      note: printed below it.
      **content: `claim`, `tables` and what else an experiment has.
    """
    if arg not in (None, "", "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke or nothing.")
    if arg == "smoke":
        content["args"] = {**content.get("args", {}), "smoke": True}
        content["claim"] = {**content["claim"], "on": "the digits, in miniature: it means nothing"}
    seeds = 2 if arg == "smoke" else 5
    return dict(title=title, config=FILE, seeds=seeds, note=note, **content)
