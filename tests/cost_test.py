"""Counts by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.errors import InputError
from kd.models import cost, layers

IMAGE = jax.ShapeDtypeStruct((2, 9, 9, 6), jnp.float32)
MATRIX = jax.ShapeDtypeStruct((5, 5), jnp.float32)


@pytest.mark.parametrize(
    ("options", "per_image"),
    [
        ({"features": 4, "kernel": 3}, 9 * 9 * 4 * 3 * 3 * 6),
        ({"features": 4, "kernel": 3, "stride": 2}, 5 * 5 * 4 * 3 * 3 * 6),
        ({"features": 6, "kernel": 3, "groups": 6}, 9 * 9 * 6 * 3 * 3),
        ({"features": 4, "kernel": 1, "groups": 2}, 9 * 9 * 4 * 3),
    ],
)
def test_convolutions(options, per_image):
    """Taps on the padding count, and the gradients with respect to input and kernel cost as much as
    the layer each.
    """
    conv = layers.conv(**options, name="conv")
    variables = jax.eval_shape(conv.init, jax.random.key(0), IMAGE)
    assert cost.macs(conv.apply, variables, IMAGE) == 2 * per_image
    both = jax.grad(lambda v, x: jnp.sum(conv.apply(v, x) ** 2), argnums=(0, 1))
    # The gradient of a stride of 2 pads the map that it has spread out: at odd sizes some of its
    # taps meet that padding alone.
    assert cost.macs(both, variables, IMAGE) == pytest.approx(6 * per_image, rel=0.1)


def test_products_and_what_contains_them():
    product = lambda a, b: a @ b
    assert cost.macs(product, MATRIX, MATRIX) == 125
    assert cost.macs(jax.jit(product), MATRIX, MATRIX) == 125
    assert cost.macs(jax.checkpoint(product), MATRIX, MATRIX) == 125
    assert cost.macs(jax.vmap(product, (0, None)), jnp.ones((3, 5, 5)), MATRIX) == 375
    scan = lambda a: jax.lax.scan(lambda a, _: (a @ a, None), a, length=7)[0]
    assert cost.macs(scan, MATRIX) == 875
    branch = lambda a: jax.lax.cond(a[0, 0] > 0, lambda a: a @ a, lambda a: a, a)
    assert cost.macs(branch, MATRIX) == 125
    assert cost.macs(lambda a: a + a, MATRIX) == 0


def test_custom_derivatives_are_looked_into():
    square = jax.custom_vjp(lambda a: a @ a)
    square.defvjp(lambda a: (a @ a, a), lambda a, g: (g @ a.T + a.T @ g,))
    assert cost.macs(square, MATRIX) == 125
    assert cost.macs(jax.grad(lambda a: jnp.sum(square(a))), MATRIX) == 375


def test_a_while_loop_says_nothing_of_its_turns():
    turn = lambda body: lambda a: jax.lax.while_loop(lambda a: a[0, 0] < 9, body, a)
    assert cost.macs(turn(lambda a: a + 1), MATRIX) == 0
    with pytest.raises(InputError, match=r"lax\.scan"):
        cost.macs(turn(lambda a: a @ a), MATRIX)


def test_sizes_of_trees():
    tree = {"a": jax.ShapeDtypeStruct((3, 4), jnp.bfloat16), "b": jnp.zeros(())}
    assert cost.count(tree) == 13
    assert cost.nbytes(tree) == 28


class Projection(nn.Module):
    """Has no hash, as a field is an array."""

    matrix: np.ndarray

    def __call__(self, x):
        return x @ self.matrix


def test_a_network_without_a_hash():
    project = Projection(np.ones((5, 5), np.float32))
    with pytest.raises(TypeError):
        hash(project)
    assert cost.macs(project.apply, {}, MATRIX) == 125
