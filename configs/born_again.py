"""Born-again networks: generations of one network, each distilled from the one before it.

    uv run kd prepare fashion_mnist
    uv run kd run --config configs/born_again.py:generation=3
    uv run kd run --config configs/born_again.py:generation=3,ensemble
    uv run kd run --config configs/born_again.py:generation=1,network=resnet32x4

Furlanello, Lipton, Tschannen, Itti, Anandkumar. Born-Again Neural Networks. ICML 2018.
https://arxiv.org/abs/1805.04770.

Generation 0 is trained on labels. Generation g is trained on the labels and on the predictions of
generation g - 1 at T = 1 (section 3.1); `labels=0` leaves out the labels. The teacher of student i
is network i of the generation before, so that five seeds are five independent lineages, with new
initial weights in every generation. With `ensemble` the teacher is the mean of all earlier
generations of the first lineage.

`network` is the number of channels in the first stage of a small network, trained on Fashion-MNIST,
or the name of a network in `configs/crd.py`, trained on CIFAR-100 by the recipe there (for a GPU).
"""

from configs import crd, fashion_mnist
from configs.arguments import parse_arg, reference

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
    c.seed = 1000 * g  # other initial weights and another order of examples in each generation
    if g == 0:
        return c
    if a["labels"]:
        c.objective = dict(ce=dict(name="ce.CE"))
        c.objective.kd = dict(name="kd.KD", temperature=1.0)
    else:
        c.objective = dict(kd=dict(name="kd.KD", temperature=1.0))
    earlier = lambda i: reference(
        "configs/born_again.py", a, DEFAULTS, generation=i, ensemble=False
    )
    cache = "augment" not in c  # the images are the same in every epoch
    if a["ensemble"]:
        c.teacher = dict(reduce="probs", cache=cache)
        c.teacher.groups = tuple(dict(config=earlier(i), members="0") for i in range(g))
    else:
        c.teacher = dict(config=earlier(g - 1), members="paired", cache=cache)
    return c


def recipe(a):
    """The config of generation 0: training on labels."""
    if a["network"].isdigit():
        c = fashion_mnist.recipe(a["seeds"], a["epochs"] or 8, a["smoke"])
        c.student = fashion_mnist.network(int(a["network"]))
        return c
    epochs = 1 if a["smoke"] else a["epochs"] or crd.EPOCHS
    return crd.recipe(a["network"], a["seeds"], epochs, 0.0)
