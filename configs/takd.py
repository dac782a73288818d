"""Teacher assistants: a chain of networks, each learning from the one before it, or from all before
it.

    uv run kd prepare fashion_mnist uv run kd run --config configs/takd.py:path=16-8-2
    # 16 channels teach 8, which teach 2 uv run kd run --config configs/takd.py:path=16-8-4-2,dense
    # 2 learn from 4, 8 and 16 at once uv run kd run --config
    configs/takd.py:path=resnet110-resnet20-resnet8,data=cifar10      # wants a GPU

Mirzadeh et al. Improved Knowledge Distillation via Teacher Assistant. AAAI 2020.
https://arxiv.org/abs/1902.03393. `dense`: Son et al. Densely Guided Knowledge Distillation using
Multiple Teacher Assistants. ICCV 2021. https://arxiv.org/abs/2009.08825; each of those before
counts the same. The paper drops each of them at random in an update; `reduce=random` keeps one,
drawn anew for each update, which is the far end of that.

`path` is the chain: one name alone learns from labels. A number is a small network of so many
channels in its first stage, on Fashion-MNIST; names are those of `configs/crd.py`, on CIFAR. Every
network before the last is one run of one seed, as in the papers, shared by all chains that begin
alike; the last has `seeds`.

What the papers leave open or chose by search on the test set (temperature, weight, rate) is
Hinton's KD at T = 4, weight 0.9. On CIFAR 160 epochs, batch 128 and weight decay 1e-4 are TAKD's;
its rate of 0.1, which its code never uses (a slip of its schedule leaves 0.01), is divided by 10
after a half and three quarters, as the paper has it.
"""

from configs import fashion_mnist
from configs.common import method, parse_arg, reference
from configs.crd import network, recipe

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
    *before, last = a["path"].split("-")
    c = small(last, a) if a["data"] == "fashion_mnist" else cifar(last, a)
    c.seed = a["seed"]
    if not before:
        return c
    c.objective = method("kd", "", "")
    once = "augment" not in c  # the same images in every epoch have one answer
    if not a["dense"] or len(before) < 2:
        c.teacher = dict(config=run(before, a), cache=once)
        return c
    c.teacher = dict(reduce=a["reduce"], cache=once)
    c.teacher.groups = tuple(dict(config=run(before[: i + 1], a)) for i in range(len(before)))
    return c


def run(path, a):
    """The config of the network at the end of a path, which is to teach: one seed, that no student
    has.
    """
    dense = a["dense"] and len(path) > 2
    reduce = a["reduce"] if dense else DEFAULTS["reduce"]
    own = dict(path="-".join(path), dense=dense, reduce=reduce, seeds=1)
    own["seed"] = 1000 + len(path)
    return reference("configs/takd.py", a, DEFAULTS, **own)


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
