"""Initial weights as PyTorch has them, and one of Keras's, for Flax kernels [kh, kw, in / groups,
out] and [in, out].

Numbers are drawn as a vector and then shaped. They are the same numbers, but XLA takes seconds to
compile a draw of [3, 3, 16, 16] for a CPU (2.5 s against 0.2 s; 380 s for all of resnet110), since
it works out a place in four dimensions for each.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, PRNGKeyArray


def kaiming_normal(
    key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike = jnp.float32
) -> Array:
    """Normal with variance 2 / fan_out, not truncated; fan_out counts all filters, in however many
    groups they stand.

    He, Zhang, Ren, Sun. Delving Deep into Rectifiers. ICCV 2015. https://arxiv.org/abs/1502.01852,
    Eq. 14.
    """
    fan_out = math.prod(shape) // shape[-2]
    return math.sqrt(2 / fan_out) * _normal(key, shape, dtype)


def he_normal(key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Normal with variance 2 / fan_in, truncated at two deviations: what Keras calls he_normal."""
    fan_in = math.prod(shape[:-1])
    drawn = jax.random.truncated_normal(key, -2, 2, (math.prod(shape),), dtype)
    # A normal cut there has a deviation of 0.8796.
    return math.sqrt(2 / fan_in) / 0.87962566 * drawn.reshape(shape)


def normal_001(key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Normal with deviation 0.01."""
    return 0.01 * _normal(key, shape, dtype)


def default_kernel(
    key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike = jnp.float32
) -> Array:
    """Uniform on +-1 / sqrt(fan_in): what a PyTorch layer has unless its network says otherwise.

    PyTorch writes it kaiming_uniform_(weight, a=sqrt(5)).
    """
    return _uniform(key, shape, dtype, math.prod(shape[:-1]))


def default_bias(fan_in: int) -> Initializer:
    """Bias of a PyTorch layer with `fan_in` inputs per output: uniform on +-1 / sqrt(fan_in)."""
    return lambda key, shape, dtype=jnp.float32: _uniform(key, shape, dtype, fan_in)


zeros = jax.nn.initializers.zeros


def _normal(key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike) -> Array:
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def _uniform(key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike, fan_in: int) -> Array:
    bound = 1 / math.sqrt(fan_in)
    size = (math.prod(shape),)
    return jax.random.uniform(key, size, dtype, -bound, bound).reshape(shape)
