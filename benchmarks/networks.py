"""Networks of three kinds, small enough for a CPU, and their input shape."""

from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.types import Outputs


class Transformer(nn.Module):
    """A small vision transformer: image patches as tokens, and pre-norm residual blocks."""

    num_classes: int
    width: int = 64
    blocks: int = 2
    heads: int = 4
    patch: int = 4

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool = False) -> Outputs:
        b, h, w, c = image.shape
        rows, columns = h // self.patch, w // self.patch
        x = image.reshape(b, rows, self.patch, columns, self.patch, c)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, rows * columns, -1)
        x = nn.Dense(self.width, name="patches")(x)
        for i in range(self.blocks):
            y = nn.LayerNorm(name=f"norm{i}_0")(x)
            attention = nn.MultiHeadAttention(self.heads, name=f"attention{i}")
            x = x + cast(Array, attention(y))
            y = nn.LayerNorm(name=f"norm{i}_1")(x)
            y = nn.gelu(nn.Dense(4 * self.width, name=f"up{i}")(y))
            x = x + nn.Dense(self.width, name=f"down{i}")(y)
        x = jnp.mean(x, axis=1)
        return Outputs(nn.Dense(self.num_classes, name="head")(x), {"pooled": x})


SHAPE, CLASSES = (32, 32, 3), 10

KINDS: dict[str, Mapping[str, Any]] = {
    "CNN": {"name": "cnn.CNN", "widths": (16, 32, 64)},
    "MLP": {"name": "mlp.MLP", "widths": (256, 256)},
    "transformer": {"name": "benchmarks.networks.Transformer"},
}

TOYS: dict[str, Mapping[str, Any]] = {
    "CNN": {"name": "cnn.CNN", "widths": (2, 2)},
    "MLP": {"name": "mlp.MLP", "widths": (4,)},
    "transformer": {"name": "benchmarks.networks.Transformer", "width": 8, "blocks": 1},
}

VIT: Mapping[str, Any] = {"name": "vit.vit_micro"}
VIT_TOY: Mapping[str, Any] = {"name": "vit.vit_micro", "width": 8, "depth": 1, "heads": 2}
