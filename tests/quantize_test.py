"""Training on eight bits: grids and gradients by hand, a network against integer arithmetic,
ranges, what is refused.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd import registry
from kd.errors import InputError
from kd.quantize import grid
from kd.quantize.student import Quantized
from kd.types import Outputs

RANGE = jnp.array([-1.0, 1.55])
"""255 steps of 0.01, of which the hundredth is zero."""


def test_activations_are_rounded_and_cut_off_by_hand():
    scale, zero = grid.scale_and_zero(RANGE)
    np.testing.assert_allclose(scale, 0.01, rtol=1e-6)
    assert zero == -28
    x = jnp.array([0.0, 0.004, 0.016, -0.996, -2.0, 1.5449, 5.0])
    found = grid.round_activation(x, RANGE)
    np.testing.assert_allclose(found, [0, 0, 0.02, -1, -1, 1.54, 1.55], atol=1e-6)
    integers = np.array([0, 0, 2, -100, -100, 154, 155], np.float32)
    np.testing.assert_array_equal(found, integers * np.float32(scale))


def test_zero_is_on_every_grid():
    for low, high in ((0.5, 3.0), (-3.0, -0.5), (-0.3, 0.7), (0.0, 0.0)):
        rounded = grid.round_activation(jnp.zeros(1), jnp.array([low, high]))
        np.testing.assert_array_equal(rounded, 0)


def test_the_gradient_passes_straight_through_but_where_x_is_cut_off():
    x = jnp.array([-2.0, -1.0, 0.004, 1.55, 1.57])
    weights = jnp.arange(1.0, 6.0)
    loss = lambda x: jnp.sum(weights * grid.round_activation(x, RANGE))
    np.testing.assert_array_equal(jax.grad(loss)(x), [0, 2, 3, 4, 0])


def test_weights_are_rounded_channel_by_channel():
    weight = jnp.array([[1.27, 0.0, -0.5], [0.0149, 0.0, 0.1], [-0.8, 0.0, 0.0]])
    expected = [[1.27, 0, -0.5], [0.01, 0, 25 * 0.5 / 127], [-0.8, 0, 0]]
    np.testing.assert_allclose(grid.round_weight(weight), expected, rtol=1e-6)
    gradient = jax.grad(lambda w: jnp.sum(grid.round_weight(w) * weight))(weight)
    np.testing.assert_array_equal(gradient, weight)


class Net(nn.Module):
    """A convolution of 1 x 1 with BatchNorm and ReLU, a mean, a dense layer."""

    @nn.compact
    def __call__(self, image, train=False):
        x = nn.Conv(3, (1, 1), use_bias=False, name="conv")(image)
        x = nn.relu(nn.BatchNorm(not train, name="norm")(x))
        pooled = jnp.mean(x, axis=(1, 2))
        return Outputs(nn.Dense(4, name="head")(pooled), {"pooled": pooled})


@pytest.fixture(scope="module")
def seen():
    """`Net` on eight bits, its variables after one update of the ranges, and images."""
    image = jax.random.normal(jax.random.key(1), (6, 4, 4, 2))
    net = Quantized(Net())
    variables = jax.jit(net.init)(jax.random.key(0), image)
    norm = variables["params"]["norm"]
    norm["scale"], norm["bias"] = jnp.array([0.5, -2.0, 0.1]), jnp.array([0.1, 0, -0.2])
    stats = variables["batch_stats"]["norm"]
    stats["mean"], stats["var"] = jnp.array([0.2, -0.1, 0]), jnp.array([1.5, 0.5, 1])
    return net, {**variables, **updated(net, variables, image)}, image


def updated(net, variables, image):
    """The statistics after one update."""
    mutable = ["batch_stats", "quant_stats"]
    return jax.jit(lambda v, x: net.apply(v, x, train=True, mutable=mutable)[1])(variables, image)


@pytest.mark.slow
def test_a_network_computes_what_integer_arithmetic_does(seen):
    """Integers in NumPy, BatchNorm folded into the weights, one of them with a negative gain."""
    net, variables, image = seen
    arrays = jax.device_get(variables)
    params, stats = arrays["params"], arrays["batch_stats"]["norm"]
    grids = [grid.scale_and_zero(r) for r in variables["quant_stats"]["ranges"]]
    grids = [(float(scale), int(zero)) for scale, zero in grids]
    gain = params["norm"]["scale"] / np.sqrt(stats["var"] + 1e-5)
    kernel = params["conv"]["kernel"][0, 0] * gain
    offset = params["norm"]["bias"] - stats["mean"] * gain
    head = params["head"]

    def dense(x, place, kernel, offset):
        """Real numbers of a product of integers: x are integers on the grid of `place`."""
        (scale, zero), step = grids[place], np.abs(kernel).max(0) / 127
        weight = np.rint(kernel / step).astype(np.int64)
        return (x - zero) @ weight * (scale * step) + offset

    def integers(x, place):
        scale, zero = grids[place]
        return np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int64)

    x = integers(np.asarray(image), 0)
    x = integers(np.maximum(dense(x, 0, kernel, offset), 0), 1)
    x = integers(((x - grids[1][1]) * grids[1][0]).mean((1, 2)), 2)
    logits = integers(dense(x, 2, head["kernel"], head["bias"]), 3)
    scale, zero = grids[3]
    found = net.apply(variables, image).logits
    np.testing.assert_allclose(found, (logits - zero) * scale, atol=1e-5)
    assert len(np.unique(logits)) > 10


@pytest.mark.slow
def test_its_variables_are_the_network_s_and_its_statistics_stand_still(seen):
    net, variables, image = seen
    plain = Net().init(jax.random.key(0), image)
    assert jax.tree.structure(plain) == jax.tree.structure(
        {k: v for k, v in variables.items() if k != "quant_stats"}
    )
    after = updated(net, variables, 3 * image)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], variables["batch_stats"])


def test_ranges_follow_the_batches_and_the_image_s_only_widens(seen):
    net, variables, image = seen
    before = variables["quant_stats"]
    assert before["updates"] == 1
    np.testing.assert_array_equal(before["ranges"][0], [image.min(), image.max()])
    after = updated(net, variables, image / 2)["quant_stats"]
    assert after["updates"] == 2
    np.testing.assert_array_equal(after["ranges"][0], before["ranges"][0])
    # At half the image, the first layer's largest value is what the network itself gives there.
    floats = Net().apply(
        {k: v for k, v in variables.items() if k != "quant_stats"},
        image / 2,
        capture_intermediates=True,
    )[1]["intermediates"]
    largest = jnp.max(nn.relu(floats["norm"]["__call__"][0]))
    expected = 0.99 * before["ranges"][1, 1] + 0.01 * largest
    np.testing.assert_allclose(after["ranges"][1, 1], expected, rtol=1e-3)
    assert after["ranges"][1, 0] == 0


def test_an_operation_without_integers_is_named_with_its_layer():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(jnp.sin(x))

    class Wavy(nn.Module):
        @nn.compact
        def __call__(self, image, train=False):
            return Outputs(Block(name="waves")(image), {})

    with pytest.raises(InputError, match=r"operation sin .* Wavy/waves"):
        Quantized(Wavy()).init(jax.random.key(0), jnp.ones((2, 3)))


NETS = ("resnet_cifar.resnet8", "wrn.wrn_16_1", "vgg.vgg8", "mobilenet.MobileNetV2")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETS, "shufflenet.ShuffleV1", "shufflenet.ShuffleV2"])
def test_networks_of_the_zoo_stay_near_themselves(name):
    """Residuals, ReLU6, concatenation, shuffled channels, pooling, BatchNorm before the
    convolution.
    """
    net = registry.find("kd.models", name)(num_classes=10)
    image = jax.random.normal(jax.random.key(1), (16, 32, 32, 3))
    variables = jax.jit(Quantized(net).init)(jax.random.key(0), image)

    @jax.jit
    def both(variables, image):
        apply = lambda v: Quantized(net).apply(v, image, train=True, mutable=["quant_stats"])
        rounded, _ = apply(variables)
        plain = {k: v for k, v in variables.items() if k != "quant_stats"}
        return rounded.logits, net.apply(plain, image).logits

    rounded, plain = both(variables, image)
    assert np.abs(rounded - plain).max() < 0.1 * np.abs(plain).max()
    assert np.corrcoef(rounded.ravel(), plain.ravel())[0, 1] > 0.99
