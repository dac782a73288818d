"""Deep mutual learning: networks that train together, on labels and on each other's predictions.

    uv run kd prepare fashion_mnist
    uv run kd run --config configs/dml.py:peers=4-4            # both updated at once
    uv run kd run --config configs/dml.py:peers=8-2,alternate  # one after the other on each batch
    uv run kd run --config configs/dml.py:peers=4-4,mutual=0   # the same two, labels only
    uv run kd run --config configs/dml.py:peers=resnet32-resnet32  # CIFAR-100, needs a GPU

Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. CVPR 2018. https://arxiv.org/abs/1706.00384. The
paper's Algorithm 1 is `alternate`. A peer is the number of channels in the first stage of a small
network, trained on Fashion-MNIST, or the name of a network in `configs/crd.py`, trained on
CIFAR-100 for 200 epochs in batches of 64 by SGD with Nesterov momentum, at a learning rate of 0.1
that is divided by 10 every 60 epochs, as in the paper. Weight decay, which the paper does not give,
is that of `configs/crd.py`.
"""

from configs import crd, fashion_mnist
from configs.arguments import parse_arg

DEFAULTS = dict(
    peers="4-4",
    mutual=True,
    alternate=False,
    seeds=5,
    epochs=0,  # 0: 6 on Fashion-MNIST, 200 on CIFAR-100
    smoke=False,
)


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    names = a["peers"].split("-")
    if all(name.isdigit() for name in names):
        c = fashion_mnist.recipe(a["seeds"], a["epochs"] or 6, a["smoke"])
        members = [fashion_mnist.network(int(name)) for name in names]
    else:
        members = [crd.network(name) for name in names]
        c = cifar(names[0], a)
    # MixedCohort unrolls the peers; on a CPU convolutions are then twice as fast as under vmap.
    c.student = dict(name="cohort.MixedCohort", alternate=a["alternate"])
    c.student.members = tuple(members)
    if a["mutual"]:
        c.objective.mutual = dict(name="mutual.Mutual")
    return c


def cifar(name, a):
    epochs = 1 if a["smoke"] else a["epochs"] or 200
    c = crd.recipe(name, a["seeds"], epochs, 0.0)
    c.optimizer.update(dict(learning_rate=0.1, nesterov=True))
    c.schedule.epochs = tuple(e * epochs / 200 for e in (60, 120, 180))
    return c
