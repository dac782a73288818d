"""Born-again networks: generations of one network, each learning from the one before it.

    uv run kd prepare fashion_mnist uv run kd run --config configs/born_again.py:generation=3 uv run
    kd run --config configs/born_again.py:generation=3,ensemble      # learns from generations 0 to
    2 at once uv run kd run --config configs/born_again.py:generation=1,network=resnet32x4      # on
    CIFAR-100, wants a GPU

Furlanello, Lipton, Tschannen, Itti, Anandkumar. Born-Again Neural Networks. ICML 2018.
https://arxiv.org/abs/1805.04770. Generation 0 learns from labels; generation g has the labels and,
at T = 1, what generation g - 1 says (section 3.1), or with `labels=0` the latter alone. Student i
descends from student i: five seeds are five lineages, each with a start of its own in every
generation. With `ensemble` it learns from the mean of all generations before it, those of the first
lineage.

`network` is a number, channels of the first stage of a small network on Fashion-MNIST, or a name of
`configs/crd.py`, on CIFAR-100 by the recipe there.
"""

from configs import crd, fashion_mnist
from configs.common import parse_arg, reference

DEFAULTS = dict(
    generation=1,
    ensemble=False,
    labels=True,
    network="8",
    seeds=5,
    epochs=0,  # 0: 8 on Fashion-MNIST, 240 on CIFAR-100
    smoke=False,
)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    g = a["generation"]
    if g < 0 or (a["ensemble"] and g < 2):
        raise ValueError(f"generation={g}: expected 0 or more, and with ensemble 2 or more.")
    c = recipe(a)
    c.seed = 1000 * g  # another order and another start in each generation
    if g == 0:
        return c
    if a["labels"]:
        c.objective = dict(ce=dict(name="ce.CE"))
        c.objective.kd = dict(name="kd.KD", temperature=1.0)
    else:
        c.objective = dict(kd=dict(name="kd.KD", temperature=1.0))
    before = lambda i: reference("configs/born_again.py", a, DEFAULTS, generation=i, ensemble=False)
    once = "augment" not in c  # the same images in every epoch have one answer
    if a["ensemble"]:
        c.teacher = dict(reduce="probs", cache=once)
        c.teacher.groups = tuple(dict(config=before(i), members="0") for i in range(g))
    else:
        c.teacher = dict(config=before(g - 1), members="paired", cache=once)
    return c


def recipe(a):
    """The run of generation 0."""
    if a["network"].isdigit():
        c = fashion_mnist.recipe(a["seeds"], a["epochs"] or 8, a["smoke"])
        c.student = fashion_mnist.network(int(a["network"]))
        return c
    epochs = 1 if a["smoke"] else a["epochs"] or crd.EPOCHS
    return crd.recipe(a["network"], a["seeds"], epochs, 0.0)
