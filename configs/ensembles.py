"""Fashion-MNIST: one to eight teachers of one or two architectures, and a small student.

    uv run kd prepare fashion_mnist
    uv run kd run --config configs/ensembles.py:teachers=8,mixed,reduce=confidence

`role=student` (the default) is distilled from `teachers` networks (1, 2, 4 or 8). All are of
`role=dense` (two hidden layers of 64); with `mixed` half of them are small convolutional networks
(`role=conv`), each with `weight` times the weight of a dense one. `reduce` is that of
config.teacher. `method=kd` is KD at T = 4 with labels; `end2` and `hydra` use no labels.
`role=labels` has no teacher. Nothing is augmented, so the teachers' logits are cached. `smoke` is a
miniature on the digits of scikit-learn.

Learning rates and epochs are first guesses that were kept; nothing was chosen on the test set.
"""

from ml_collections import ConfigDict

from configs.arguments import parse_arg, reference
from configs.methods import complete, method

FILE = "configs/ensembles.py"
DEFAULTS = dict(
    role="student",
    teachers=8,
    mixed=False,
    weight=1.0,
    reduce="probs",
    method="kd",
    seeds=5,
    smoke=False,
)

ROLES = ("student", "dense", "conv", "labels")
MEMBERS = dict(dense=8, conv=4)
"""Role -> networks in its run. Students of fewer teachers take the first ones."""


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    if a["role"] not in ROLES:
        raise ValueError(f"role={a['role']}: expected one of {', '.join(ROLES)}.")
    if a["method"] not in ("kd", "end2", "hydra"):
        raise ValueError(f"method={a['method']}: expected kd, end2 or hydra.")
    c = ConfigDict()
    c.data = dict(name="digits" if a["smoke"] else "fashion_mnist")
    c.batch_size = 128
    c.optimizer = dict(name="adamw", learning_rate=2e-3, weight_decay=1e-4)
    c.schedule = dict(name="cosine", warmup=0.5)
    c.eval_every = 5
    c.objective = dict(ce=dict(name="ce.CE"))
    if a["role"] in MEMBERS:
        c.seed = 1000  # other initial weights and another order of examples than any student
        c.seeds = MEMBERS[a["role"]]
    else:
        c.seeds = a["seeds"]
    if a["role"] == "conv":
        c.student = dict(name="cnn.CNN", widths=(8, 16, 32))
        c.optimizer.learning_rate = 1e-2
        c.epochs = 1 if a["smoke"] else 6
        return c
    if a["role"] == "dense":
        c.student = dict(name="mlp.MLP", widths=(64, 64), dropout=0.1)
        c.epochs = 1 if a["smoke"] else 15
        return c
    c.student = dict(name="mlp.MLP", widths=(16,))
    c.epochs = 1 if a["smoke"] else 20
    if a["role"] == "student":
        teach(c, a)
    return c


def teach(c, a):
    """Sets the sections `teacher` and `objective` of a student."""
    ref = lambda role: reference(FILE, dict(DEFAULTS, role=role, smoke=a["smoke"]), DEFAULTS)
    first = lambda n: tuple(range(n))
    count = a["teachers"]
    common = dict(reduce=a["reduce"], cache=True)
    if a["mixed"]:
        conv = count // 2
        groups = (
            dict(config=ref("dense"), members=first(count - conv)),
            dict(config=ref("conv"), members=first(conv), weight=a["weight"]),
        )
        c.teacher = dict(groups=groups, **common)
    else:
        c.teacher = dict(config=ref("dense"), members=first(count), **common)
    c.objective = method(a["method"], "", "")
    complete(c, a["method"])
    if a["method"] == "end2":
        hold, falling = (0, 0) if a["smoke"] else (5, 10)
        c.objective["end2"].update(hold=hold, epochs=falling)
    elif a["method"] == "hydra":
        c.student = dict(name="hydra.Hydra", student=c.student.to_dict(), heads=count)
