"""Multi-head self-attention, written out in matrix products and a softmax.

So written, its operations are ones that exports, quantization and counts of MACs know. On an
accelerator `fused` hands it to JAX, which may take a kernel that never stores the map of weights.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.models import initializers
from kd.ranges import Depth


class Heads(NamedTuple):
    """What the heads of a block read, each [b, t, heads, d / heads].

    Attributes:
      query: not yet divided by the root of its size.
      key: of the same shape.
      value: of the same shape.
    """

    query: Array
    key: Array
    value: Array


def attend(heads: Heads) -> Float[Array, "b t h k"]:
    """softmax(Q K^T / sqrt(k)) V of each head; the softmax is in float32.

    Vaswani et al. Attention Is All You Need. NeurIPS 2017. https://arxiv.org/abs/1706.03762, Eq. 1.
    """
    query, key, value = heads
    query = query * query.shape[-1] ** -0.5
    scores = jnp.einsum("bthk,bshk->bhts", query, key).astype(jnp.float32)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("bhts,bshk->bthk", weights, value)


class Attention(nn.Module):
    """Self-attention with a linear layer after it: `query`, `key`, `value` and `out`, each a layer
    with a kernel [d, d] and a bias [d].

    Head i reads the columns i d / heads to (i + 1) d / heads of the three layers.

    Attributes:
      heads: number of heads, which divides d.
      bias: whether `query`, `key` and `value` have biases; `out` always has.
      fused: whether `jax.nn.dot_product_attention` computes it.
      dtype: of the computation, but for the softmax; parameters are float32.

    Raises:
      InputError: the heads do not divide the width.
    """

    heads: Depth
    bias: bool = True
    fused: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> tuple[Float[Array, "b t d"], Heads]:
        """The output, and what the heads read."""
        b, t, d = x.shape
        check_heads(d, self.heads)

        def project(name: str) -> Array:
            y = linear(d, use_bias=self.bias, dtype=self.dtype, name=name)(x)
            return y.reshape(b, t, self.heads, d // self.heads)

        heads = Heads(*map(project, Heads._fields))
        y = jax.nn.dot_product_attention(*heads) if self.fused else attend(heads)
        return linear(d, dtype=self.dtype, name="out")(y.reshape(b, t, d)), heads


def linear(
    width: int, *, name: str, use_bias: bool = True, dtype: DTypeLike = jnp.float32
) -> nn.Dense:
    """A linear layer of a transformer: kernel normal with deviation 0.02, bias zero."""
    return nn.Dense(
        width,
        use_bias=use_bias,
        kernel_init=initializers.normal_002,
        dtype=dtype,
        name=name,
    )


def check_heads(width: int, heads: int) -> None:
    """Raises InputError unless every head has as many columns of the width."""
    if width % heads:
        fitting = [n for n in range(1, min(width, 64) + 1) if width % n == 0]
        raise InputError(
            f"{heads} heads do not divide a width of {width}. Set heads to a number that does "
            f"({', '.join(map(str, fitting))}), or the width to a multiple of {heads}, such as "
            f"{max(width // heads, 1) * heads}."
        )
