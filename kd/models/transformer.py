"""A block of a transformer: attention and a two-layer network, each behind a norm."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kd.models.attention import Attention, Heads, linear
from kd.ranges import Depth, Positive, Probability, Width

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": partial(nn.gelu, approximate=False),
    "gelu_tanh": partial(nn.gelu, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": nn.relu,
}
"""Of the layers `up`. `quick_gelu` and `relu` have kernels on microcontrollers, `gelu` has none."""


class Block(nn.Module):
    """x + attention(norm(x)), then x + down(activation(up(norm(x)))).

    Attributes:
      heads: of the attention.
      hidden: width of `up`.
      drop_path: probability that a branch is left out, for each example.
      activation: see `ACTIVATIONS`.
      epsilon: of the norms.
      qkv_bias: see `Attention.bias`.
      fused: see `Attention.fused`.
      dtype: of the computation.
    """

    heads: Depth
    hidden: Width
    drop_path: Probability = 0.0
    activation: str = "gelu"
    epsilon: Positive = 1e-6
    qkv_bias: bool = True
    fused: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], train: bool) -> tuple[Array, Heads]:
        """The tokens, and what the heads of the attention read."""

        def after(branch: Array) -> Array:
            drop = nn.Dropout(self.drop_path, broadcast_dims=(1, 2), deterministic=not train)
            return x + drop(branch)

        attention = Attention(self.heads, self.qkv_bias, self.fused, self.dtype, name="attention")
        y, heads = attention(norm(self.epsilon, self.dtype, "norm1")(x))
        x = after(y)
        y = linear(self.hidden, dtype=self.dtype, name="up")(
            norm(self.epsilon, self.dtype, "norm2")(x)
        )
        y = ACTIVATIONS[self.activation](y)
        return after(linear(x.shape[-1], dtype=self.dtype, name="down")(y)), heads


def norm(epsilon: float, dtype: DTypeLike, name: str) -> nn.LayerNorm:
    """A LayerNorm whose variance is the mean of (x - mean)^2, as PyTorch computes it."""
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=dtype, name=name)
