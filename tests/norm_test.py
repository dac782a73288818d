"""BatchNorm against PyTorch's arithmetic, written out in NumPy."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd
from kd.devices.pmap import shared_moments
from kd.errors import InputError
from kd.features import ConvRegressor
from kd.models.adapted import adapt
from kd.models.cnn import CNN
from kd.models.norm import BatchNorm

pytestmark = pytest.mark.usefixtures("unoptimized_module")

SCALE, BIAS = np.array([2.0, 0.5], np.float32), np.array([0.1, -1.0], np.float32)
MEAN, VAR = np.array([0.3, -0.2], np.float32), np.array([1.5, 0.7], np.float32)
VARIABLES = {"params": {"scale": SCALE, "bias": BIAS}, "batch_stats": {"mean": MEAN, "var": VAR}}


def image(offset: float = 0.0) -> jax.Array:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal((4, 3, 3, 2)) * 2 + offset, jnp.float32)


def test_training_normalises_by_the_batch_and_keeps_the_unbiased_variance():
    x = np.asarray(image())
    y, updated = BatchNorm().apply(VARIABLES, jnp.asarray(x), train=True, mutable=["batch_stats"])
    n = 4 * 3 * 3
    mean = x.sum((0, 1, 2)) / n
    var = ((x - mean) ** 2).sum((0, 1, 2)) / n
    np.testing.assert_allclose(
        y, (x - mean) / np.sqrt(var + 1e-5) * SCALE + BIAS, rtol=1e-5, atol=1e-5
    )
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.9 * MEAN + 0.1 * mean, rtol=1e-6)
    unbiased = var * n / (n - 1)
    np.testing.assert_allclose(stats["var"], 0.9 * VAR + 0.1 * unbiased, rtol=1e-6)
    assert np.all(np.abs(0.1 * (unbiased - var)) > 1e-3), "the test must tell n from n-1"


def test_evaluation_uses_the_running_statistics():
    x = np.asarray(image())
    y = BatchNorm().apply(VARIABLES, jnp.asarray(x), train=False)
    np.testing.assert_allclose(
        y, (x - MEAN) / np.sqrt(VAR + 1e-5) * SCALE + BIAS, rtol=1e-5, atol=1e-6
    )


def test_a_mean_far_from_zero_does_not_spoil_the_variance_once_it_is_known():
    x = image(offset=3000.0)
    stats = {"mean": np.full(2, 2999.0, np.float32), "var": VAR}
    variables = {"params": VARIABLES["params"], "batch_stats": stats}
    y = BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])[0]
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(y, exact * SCALE + BIAS, rtol=1e-3, atol=1e-3)


def test_gradient_is_that_of_the_normalisation_by_the_batch():
    """Sums over the batch of dL/dx and of dL/dx times the normalised x are zero: both are taken
    off.
    """
    x, weight = (np.asarray(image()), np.random.default_rng(1).standard_normal((4, 3, 3, 2)))

    def loss(x):
        y = BatchNorm().apply(VARIABLES, jnp.asarray(x), train=True, mutable=["batch_stats"])[0]
        return jnp.sum(y * weight)

    grad = np.asarray(jax.grad(loss)(jnp.asarray(x)))
    normal = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))
    assert np.abs(grad).max() > 0.1
    np.testing.assert_allclose(grad.sum((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose((grad * normal).sum((0, 1, 2)), 0, atol=1e-3)


def test_moments_over_a_mapped_axis_equal_those_of_the_whole_batch():
    x = image()
    whole, updated = BatchNorm().apply(VARIABLES, x, train=True, mutable=["batch_stats"])
    split = jax.vmap(
        lambda x: BatchNorm(axis_name="data").apply(
            VARIABLES, x, train=True, mutable=["batch_stats"]
        ),
        axis_name="data",
    )
    parts, stats = split(x.reshape(2, 2, 3, 3, 2))
    np.testing.assert_allclose(parts.reshape(x.shape), whole, rtol=1e-5, atol=1e-6)
    for name in ("mean", "var"):
        for part in stats["batch_stats"][name]:
            np.testing.assert_allclose(part, updated["batch_stats"][name], rtol=1e-6)


def test_init_leaves_the_statistics_alone_even_in_training(key):
    variables = BatchNorm(axis_name="data").init(key, image(), train=True)
    assert np.array_equal(variables["batch_stats"]["mean"], [0, 0])
    assert np.array_equal(variables["batch_stats"]["var"], [1, 1])


def test_half_precision_keeps_float32_statistics():
    x = jnp.asarray(image(), jnp.bfloat16)
    norm = BatchNorm(dtype=jnp.bfloat16)
    y, updated = norm.apply(VARIABLES, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    stats = updated["batch_stats"]
    assert {a.dtype for a in stats.values()} == {jnp.dtype("float32")}
    mean = np.asarray(x, np.float32).mean((0, 1, 2))
    np.testing.assert_allclose(stats["mean"], 0.9 * MEAN + 0.1 * mean, rtol=1e-5)


def test_one_value_per_channel_has_no_variance():
    with pytest.raises(InputError, match=r"\(1, 1, 1, 2\)"):
        BatchNorm().apply(VARIABLES, jnp.ones((1, 1, 1, 2)), train=True, mutable=["batch_stats"])


# ------------------------------------------------------------------ one value per channel


class Own(nn.Module):
    """A user's network with Flax's BatchNorm."""

    num_classes: int

    @nn.compact
    def __call__(self, image, train: bool = False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(image))
        return nn.Dense(self.num_classes)(x)


@pytest.mark.parametrize(
    ("network", "one", "two"),
    [
        (CNN(4, (3,)), (1, 1, 1, 2), (2, 1, 1, 2)),
        (CNN(4, (3,)), (1, 1, 2), (1, 2, 2)),  # series of one step
        (CNN(4, (3, 3)), (1, 2, 2, 2), (2, 2, 2, 2)),  # the second stage has one place
        (adapt(Own(4)), (1, 2), (2, 2)),
    ],
)
def test_a_network_with_one_value_per_channel_is_refused(network, one, two):
    """In training alone: the variance would be 0 and the network learn nothing."""
    variables = network.init(jax.random.key(0), jnp.ones(one))
    train = lambda x: network.apply(variables, x, train=True, mutable=["batch_stats"])
    with pytest.raises(InputError, match="one value per channel"):
        jax.eval_shape(train, jnp.ones(one))
    jax.eval_shape(train, jnp.ones(two))
    jax.eval_shape(lambda x: network.apply(variables, x), jnp.ones(one))


def test_a_regressor_with_one_value_per_channel_is_refused():
    """As connectors of objectives are, whatever the student."""
    regressor = ConvRegressor((1, 1, 3))
    variables = regressor.init(jax.random.key(0), jnp.ones((1, 1, 1, 2)))
    apply = lambda x: regressor.apply(variables, x, mutable=["batch_stats"])
    with pytest.raises(InputError, match="one value per channel"):
        jax.eval_shape(apply, jnp.ones((1, 1, 1, 2)))
    jax.eval_shape(apply, jnp.ones((2, 1, 1, 2)))


def test_no_part_of_kd_uses_a_batch_norm_that_refuses_nothing():
    """Flax's is named in the two files that hold it to the rule."""
    files = Path(kd.__file__).parent.rglob("*.py")
    users = {file.name for file in files if "nn.BatchNorm" in file.read_text()}
    assert users == {"features.py", "adapted.py"}


def test_moments_over_devices_count_together():
    """One example on each of two devices is two values per channel."""
    network = CNN(4, (3,))
    variables = network.init(jax.random.key(0), jnp.ones((1, 1, 1, 2)))

    def train(x):
        with shared_moments("data"):
            return network.apply(variables, x, train=True, mutable=["batch_stats"])[0].logits

    mapped = jax.vmap(train, axis_name="data")
    jax.eval_shape(mapped, jnp.ones((2, 1, 1, 1, 2)))
    with pytest.raises(InputError, match="one value per channel"):
        jax.eval_shape(mapped, jnp.ones((1, 1, 1, 1, 2)))
