"""Wide residual networks for 32 x 32 images."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.models import initializers, layers
from kd.models.norm import BatchNorm
from kd.ranges import Classes, Depth, Width
from kd.types import Outputs

type Map = Float[Array, "b _ _ _"]


class _Block(nn.Module):
    """BatchNorm and ReLU before each of two 3 x 3 convolutions. Returns its output, and that of its
    first BatchNorm.
    """

    features: int
    stride: int
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Map, train: bool) -> tuple[Map, Map]:
        conv = partial(layers.conv, self.features, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        pre = norm(name="bn1")(x, train)
        y = nn.relu(pre)
        if x.shape[-1] != self.features:
            x = conv(1, self.stride, name="shortcut")(y)
        y = conv(3, self.stride, name="conv1")(y)
        y = nn.relu(norm(name="bn2")(y, train))
        return x + conv(3, name="conv2")(y), pre


class WideResNet(nn.Module):
    """Zagoruyko, Komodakis. Wide Residual Networks. BMVC 2016. https://arxiv.org/abs/1605.07146,
    table 1, no dropout.

    Attributes:
      depth: 6 n + 4, with n blocks in each of three stages.
      width: factor on the 16, 32, 64 channels of the stages; the stem always has 16.
      num_classes: c.
      dtype: of the computation; parameters, statistics, `pooled` and logits stay float32.
      axis_name: see `BatchNorm`.

    Features: `stem` and `stage1` to `stage3` are raw, the sums that the blocks return, before any
    BatchNorm or ReLU; `pooled` [b, d]. `stage1_pre` to `stage3_pre` are those sums after the
    BatchNorm that reads them and before its ReLU: `block2_0/bn1`, `block3_0/bn1`, `bn1`.
    """

    depth: Depth
    width: Width
    num_classes: Classes = 100
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        if self.depth < 10 or (self.depth - 4) % 6:
            raise InputError(
                f"wrn.WideResNet: depth: expected 6 n + 4, such as 16, 28 or 40, got {self.depth}."
            )
        layers.check_image(self, image, "conv1", smallest=5)
        x = layers.conv(16, 3, dtype=self.dtype, name="conv1")(image)
        features = {"stem": x}
        for i in (1, 2, 3):
            for j in range((self.depth - 4) // 6):
                block = _Block(
                    16 * self.width * 2 ** (i - 1),
                    2 if i > 1 and j == 0 else 1,
                    self.dtype,
                    self.axis_name,
                    name=f"block{i}_{j}",
                )
                x, pre = block(x, train)
                if i > 1 and j == 0:
                    features[f"stage{i - 1}_pre"] = pre
            features[f"stage{i}"] = x
        norm = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name="bn1")
        features["stage3_pre"] = norm(x, train)
        features["pooled"] = layers.pool(nn.relu(features["stage3_pre"]))
        head = layers.head(self.num_classes, x.shape[-1], bias_init=initializers.zeros)
        return Outputs(head(features["pooled"]), features)


wrn_16_1 = partial(WideResNet, 16, 1)
wrn_16_2 = partial(WideResNet, 16, 2)
wrn_40_1 = partial(WideResNet, 40, 1)
wrn_40_2 = partial(WideResNet, 40, 2)
wrn_28_10 = partial(WideResNet, 28, 10)

TORCH_NAMES = (
    ((r"^block(\d)_(\d+)", r"block\1.layer.\2"), (r"shortcut", "convShortcut"), (r"^head", "fc")),
)
