"""Deep mutual learning: two networks that learn together, each from the labels and from what the
other says.

    uv run kd prepare fashion_mnist uv run kd run --config configs/dml.py:peers=4-4
    # both at once uv run kd run --config configs/dml.py:peers=8-2,alternate      # one after the
    other on each batch uv run kd run --config configs/dml.py:peers=4-4,mutual=0        # the same
    two without learning from one another uv run kd run --config
    configs/dml.py:peers=resnet32-resnet32   # on CIFAR-100, wants a GPU

Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. CVPR 2018. https://arxiv.org/abs/1706.00384. The
paper's Algorithm 1 is `alternate`. Peers are numbers, channels of the first stage of small networks
on Fashion-MNIST, or names of `configs/crd.py` on CIFAR-100: there 200 epochs in batches of 64, SGD
with Nesterov momentum, the rate of 0.1 divided by 10 every 60 epochs, as the paper has it; what it
does not say (weight decay) is that of `configs/crd.py`.
"""

from configs import crd, fashion_mnist
from configs.common import parse_arg

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
    # Unrolled rather than vmapped: on a CPU convolutions are twice as fast so.
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
