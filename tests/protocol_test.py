"""Four updates of the CIFAR-100 recipe equal those of a NumPy reference with PyTorch's semantics.

The reference writes out the gradients by hand, and SGD and BatchNorm as PyTorch has them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd import teachers
from kd.init import make_init
from kd.models.norm import BatchNorm
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.objectives.kd import KD
from kd.optim import make_optimizer, make_schedule
from kd.step import make_step
from kd.types import Outputs

pytestmark = pytest.mark.usefixtures("unoptimized_module")

RATE, MOMENTUM, DECAY, T, EPS, KEEP = 0.05, 0.9, 5e-4, 4.0, 1e-5, 0.9
SIZES = (8, 3, 8, 3)  # two epochs of eleven examples in batches of eight
SHRINK = 1  # the epoch after which the rate is a tenth


class Net(nn.Module):
    """Linear, BatchNorm, ReLU, linear."""

    @nn.compact
    def __call__(self, image, train=False):
        x = nn.Dense(6, name="hidden")(image)
        x = nn.relu(BatchNorm(name="bn")(x, train))
        return Outputs(nn.Dense(4, name="head")(x), {})


def drawn(seed):
    """Random variables of a Net with five inputs, none of them at its usual initial value."""
    r = np.random.default_rng(seed)
    normal = lambda *shape: r.normal(size=shape)
    return {
        "params": {
            "hidden": {"kernel": normal(5, 6), "bias": normal(6)},
            "bn": {"scale": 1 + 0.3 * normal(6), "bias": normal(6)},
            "head": {"kernel": normal(6, 4), "bias": normal(4)},
        },
        "batch_stats": {"bn": {"mean": normal(6), "var": 1 + r.uniform(size=6)}},
    }


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def evaluate(v, x):
    p, s = v["params"], v["batch_stats"]["bn"]
    h = x @ p["hidden"]["kernel"] + p["hidden"]["bias"]
    h = (h - s["mean"]) / np.sqrt(s["var"] + EPS)
    h = np.maximum(h * p["bn"]["scale"] + p["bn"]["bias"], 0)
    return h @ p["head"]["kernel"] + p["head"]["bias"]


def gradient(v, x, label, target):
    """Loss, its gradient, and the running statistics after this batch."""
    p, s, n = v["params"], v["batch_stats"]["bn"], len(x)
    a = x @ p["hidden"]["kernel"] + p["hidden"]["bias"]
    mean, var = a.mean(0), a.var(0)
    unit = (a - mean) / np.sqrt(var + EPS)
    b = unit * p["bn"]["scale"] + p["bn"]["bias"]
    h = np.maximum(b, 0)
    z = h @ p["head"]["kernel"] + p["head"]["bias"]

    one_hot, q, soft = np.eye(4)[label], softmax(target / T), softmax(z / T)
    ce = -np.log(softmax(z)[np.arange(n), label]).mean()
    kl = T**2 * (q * (np.log(q) - np.log(soft))).sum(1).mean()
    dz = (0.1 * (softmax(z) - one_hot) + 0.9 * T * (soft - q)) / n

    db = (dz @ p["head"]["kernel"].T) * (b > 0)
    du = db * p["bn"]["scale"]
    da = (du - du.mean(0) - unit * (du * unit).mean(0)) / np.sqrt(var + EPS)
    grads = {
        "hidden": {"kernel": x.T @ da, "bias": da.sum(0)},
        "bn": {"scale": (db * unit).sum(0), "bias": db.sum(0)},
        "head": {"kernel": h.T @ dz, "bias": dz.sum(0)},
    }
    stats = {
        "mean": KEEP * s["mean"] + (1 - KEEP) * mean,
        "var": KEEP * s["var"] + (1 - KEEP) * a.var(0, ddof=1),  # unbiased
    }
    return 0.1 * ce + 0.9 * kl, grads, {"bn": stats}


@pytest.mark.slow
def test_four_updates_are_those_of_the_reference():
    v, teacher = drawn(0), drawn(1)
    r = np.random.default_rng(2)
    batches = [(r.normal(size=(n, 5)), r.integers(0, 4, n)) for n in SIZES]

    tx = make_optimizer(
        dict(name="sgd", learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY),
        make_schedule(dict(name="piecewise", epochs=(SHRINK,), factor=0.1), 2, 2),
    )
    objective = Weighted({"ce": CE(), "kd": KD(T)}, {"ce": 0.1, "kd": 0.9})
    parts = Net(), objective, teachers.frozen(Net()), tx
    single = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)
    frozen = {"teacher": single(teacher), "tables": {}}
    device_batches = [
        {"image": jnp.asarray(x, jnp.float32), "label": jnp.asarray(y)} for x, y in batches
    ]
    state = make_init(*parts)(jax.random.key(0), frozen, device_batches[0])
    start = single(v)
    state = state.replace(
        params={**state.params, "student": start["params"]},
        stats={**state.stats, "student": {"batch_stats": start["batch_stats"]}},
    )
    step = jax.jit(make_step(*parts))

    speed = jax.tree.map(np.zeros_like, v["params"])
    for update, ((x, label), batch) in enumerate(zip(batches, device_batches, strict=True)):
        loss, grads, stats = gradient(v, x, label, evaluate(teacher, x))
        rate = RATE * (0.1 if update // 2 >= SHRINK else 1.0)
        # torch.optim.SGD: weight decay, of biases and BatchNorm too, is added to the gradient
        # before the momentum; the learning rate multiplies after it.
        speed = jax.tree.map(
            lambda u, g, w: MOMENTUM * u + g + DECAY * w, speed, grads, v["params"]
        )
        params = jax.tree.map(lambda w, u, c=rate: w - c * u, v["params"], speed)
        v = {"params": params, "batch_stats": stats}

        state, metrics = step(state, frozen, batch)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
        ours = state.params["student"], state.stats["student"]["batch_stats"]
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, 2e-5, 2e-6),
            ours,
            (v["params"], v["batch_stats"]),
        )
