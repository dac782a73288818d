"""Teacher assistants: a chain of networks, each distilled from the one before or all before it.

    uv run kd prepare fashion_mnist
    uv run kd run --config configs/takd.py:path=16-8-2          # 16 channels -> 8 -> 2
    uv run kd run --config configs/takd.py:path=16-8-4-2,dense  # 4, 8 and 16 are teachers of 2
    uv run kd run --config configs/takd.py:path=resnet110-resnet20-resnet8,data=cifar10

Mirzadeh et al. Improved Knowledge Distillation via Teacher Assistant. AAAI 2020.
https://arxiv.org/abs/1902.03393. `dense`: Son et al. Densely Guided Knowledge Distillation using
Multiple Teacher Assistants. ICCV 2021. https://arxiv.org/abs/2009.08825; all teachers have the same
weight. That paper drops each teacher at random in an update; `reduce=random` keeps exactly one,
drawn anew for each update, which is the extreme case.

`path` is the chain; a single name is trained on labels. A number is the number of channels in the
first stage of a small network, on Fashion-MNIST; names are those of `configs/crd.py`, on CIFAR (for
a GPU). Every network before the last is one run of one seed, as in the papers, shared by all chains
with the same beginning; the last has `seeds`.

Temperature, weight and learning rate, which the papers leave open or chose on the test set, are
Hinton's KD at T = 4 with weight 0.9. On CIFAR 160 epochs, batch size 128 and weight decay 1e-4 are
TAKD's. The learning rate of 0.1, divided by 10 after a half and three quarters, is the paper's; its
code trains at 0.01 because of a slip in its schedule.
"""

from configs import fashion_mnist
from configs.arguments import parse_arg, reference
from configs.crd import network, recipe
from configs.methods import method

DEFAULTS = dict(
    path="16-8-2",
    dense=False,
    reduce="each",
    data="fashion_mnist",
    seeds=5,
    seed=0,
    epochs=0,  # 0: 12 on Fashion-MNIST, 160 on CIFAR
    smoke=False,
)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    *teachers, last = a["path"].split("-")
    c = small(last, a) if a["data"] == "fashion_mnist" else cifar(last, a)
    c.seed = a["seed"]
    if not teachers:
        return c
    c.objective = method("kd", "", "")
    cache = "augment" not in c  # the images are the same in every epoch
    if not a["dense"] or len(teachers) < 2:
        c.teacher = dict(config=run(teachers, a), cache=cache)
        return c
    c.teacher = dict(reduce=a["reduce"], cache=cache)
    c.teacher.groups = tuple(dict(config=run(teachers[: i + 1], a)) for i in range(len(teachers)))
    return c


def run(path, a):
    """The reference of a teacher: the last network of a path, with a seed that no student has."""
    dense = a["dense"] and len(path) > 2
    reduce = a["reduce"] if dense else DEFAULTS["reduce"]
    changes = dict(path="-".join(path), dense=dense, reduce=reduce, seeds=1)
    changes["seed"] = 1000 + len(path)
    return reference("configs/takd.py", a, DEFAULTS, **changes)


def small(width, a):
    if not width.isdigit():
        raise ValueError(
            f"path={a['path']}: on Fashion-MNIST networks are numbers of channels, as in 16-8-2."
        )
    c = fashion_mnist.recipe(a["seeds"], a["epochs"] or 12, a["smoke"])
    c.student = fashion_mnist.network(int(width))
    return c


def cifar(name, a):
    if a["data"] not in ("cifar10", "cifar100"):
        raise ValueError(f"data={a['data']}: expected fashion_mnist, cifar10, cifar100.")
    epochs = 1 if a["smoke"] else a["epochs"] or 160
    c = recipe(name, a["seeds"], epochs, 0.0)
    c.data = dict(name=a["data"])
    c.student = network(name)
    c.batch_size = 128
    c.optimizer.update(dict(learning_rate=0.1, weight_decay=1e-4))
    c.schedule.epochs = (epochs / 2, epochs * 0.75)
    return c
