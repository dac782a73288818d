"""Grids of eight bits, real = scale * (integer - zero), and rounding to them with a gradient.

Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam, Kalenichenko. Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference. CVPR 2018.
https://arxiv.org/abs/1712.05877, sections 2.1 and 3; with the integers of LiteRT: activations -128
to 127 with a zero point, weights -127 to 127 about zero, one scale per output channel.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

type Kernel = Float[Array | np.ndarray, "*n c"]

LOWEST, HIGHEST = -128, 127
"""Integers of an activation; those of a weight are -127 to 127."""

# Scale of activations that are always zero, and of channels whose weights are all zero: any number
# would do, except zero.
SMALLEST = 1e-8


def scale_and_zero(range: Float[Array, "2"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Scale and zero point (an integer) of the grid for values from range[0] to range[1].

    Zero is always a point of the grid.
    """
    low, high = jnp.minimum(range[0], 0), jnp.maximum(range[1], 0)
    scale = jnp.maximum(high - low, SMALLEST) / (HIGHEST - LOWEST)
    return scale, jnp.clip(jnp.round(LOWEST - low / scale), LOWEST, HIGHEST)


def round_activation(x: Float[Array, "..."], range: Float[Array, "2"]) -> Float[Array, "..."]:
    """x on the grid of a range. The gradient is 1 inside it, 0 where x was clipped."""
    scale, zero = scale_and_zero(range)
    integer = jnp.round(x / scale) + zero
    value = (jnp.clip(integer, LOWEST, HIGHEST) - zero) * scale
    return _straight_through(x, value, (integer >= LOWEST) & (integer <= HIGHEST))


def weight_scale(weight: Kernel) -> Float[Array | np.ndarray, " c"]:
    """Scale of each output channel, the last axis: its largest magnitude is 127.

    For a NumPy array the result is a NumPy array.
    """
    largest = abs(weight).max(axis=tuple(range(weight.ndim - 1)))
    return largest.clip(SMALLEST) / HIGHEST


def round_weight(weight: Kernel) -> Float[Array, "*n c"]:
    """Weights on the grids of their output channels. The gradient is 1."""
    scale = jax.lax.stop_gradient(weight_scale(weight))
    scale = scale.reshape((1,) * (weight.ndim - 1) + scale.shape)
    value = jnp.clip(jnp.round(weight / scale), -HIGHEST, HIGHEST) * scale
    return _straight_through(weight, value, True)


def _straight_through(x: Kernel, value: Array, inside: Array | bool) -> Array:
    """`value` to the last bit, with the gradient of x where `inside` (straight-through)."""
    moving = jnp.where(inside, x, jax.lax.stop_gradient(x))
    return jax.lax.stop_gradient(value) + (moving - jax.lax.stop_gradient(moving))
