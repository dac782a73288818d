"""The residual network and its two blocks; resnet_cifar.py and resnet.py define its variants."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kd.models import layers
from kd.models.norm import BatchNorm
from kd.ranges import Classes, Depth, Length, Width, Widths
from kd.types import Outputs

type Map = Float[Array, "b _ _ _"]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions of `features` channels. Returns the output after and before the last
    ReLU.
    """

    features: int
    stride: int
    dtype: DTypeLike
    axis_name: str | None
    expansion = 1

    @nn.compact
    def __call__(self, x: Map, train: bool) -> tuple[Map, Map]:
        conv = partial(layers.conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        y = conv(self.features, 3, self.stride, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y, train))
        y = conv(self.features, 3, name="conv2")(y)
        y = norm(name="bn2")(y, train)
        return _join(self, x, y, train)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, the stride on the 3 x 3 (v1.5), to 4 `features`
    channels. Returns as `BasicBlock`.
    """

    features: int
    stride: int
    dtype: DTypeLike
    axis_name: str | None
    expansion = 4

    @nn.compact
    def __call__(self, x: Map, train: bool) -> tuple[Map, Map]:
        conv = partial(layers.conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        y = conv(self.features, 1, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y, train))
        y = conv(self.features, 3, self.stride, name="conv2")(y)
        y = nn.relu(norm(name="bn2")(y, train))
        y = conv(self.expansion * self.features, 1, name="conv3")(y)
        y = norm(name="bn3")(y, train)
        return _join(self, x, y, train)


def _join(block: BasicBlock | Bottleneck, x: Map, y: Map, train: bool) -> tuple[Map, Map]:
    """x + y after and before ReLU; if shapes differ, x is projected by a 1 x 1 convolution and
    BatchNorm (option B).
    """
    if x.shape != y.shape:
        x = layers.conv(y.shape[-1], 1, block.stride, dtype=block.dtype, name="downsample_conv")(x)
        norm = BatchNorm(dtype=block.dtype, axis_name=block.axis_name, name="downsample_bn")
        x = norm(x, train)
    return nn.relu(x + y), x + y


class ResNet(nn.Module):
    """He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016.
    https://arxiv.org/abs/1512.03385

    Attributes:
      block: BasicBlock or Bottleneck.
      blocks: number of blocks in each stage; every stage but the first halves the map.
      widths: `features` of each stage's blocks.
      stem: channels of the first convolution.
      imagenet: whether the stem is 7 x 7 with stride 2 and a max pool with stride 2, instead of
        3 x 3.
      num_classes: c.
      dtype: of the computation; parameters, statistics, `pooled` and logits stay float32.
      axis_name: see `BatchNorm`.

    Features: `stem` after its ReLU (before the max pool), `stage1`, `stage2`, ... after the last
    ReLU of each stage, `pooled` [b, d]; and `stage1_pre`, ... before that ReLU. BatchNorm right
    before it: the last one of the stage's last block, such as `layer1_2/bn2`.
    """

    block: type[BasicBlock] | type[Bottleneck]
    blocks: Annotated[Sequence[Depth], Length(1)]
    widths: Widths
    stem: Width
    imagenet: bool
    num_classes: Classes = 100
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        stride = 2 ** (len(self.blocks) - 1) * (4 if self.imagenet else 1)
        layers.check_image(self, image, "conv1", smallest=stride + 1)
        kernel, step = (7, 2) if self.imagenet else (3, 1)
        x = layers.conv(self.stem, kernel, step, dtype=self.dtype, name="conv1")(image)
        norm = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name="bn1")
        x = nn.relu(norm(x, train))
        features = {"stem": x}
        if self.imagenet:
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        stages = zip(self.blocks, self.widths, strict=True)
        for i, (count, width) in enumerate(stages, start=1):
            pre = x
            for j in range(count):
                step = 2 if i > 1 and j == 0 else 1
                block = self.block(width, step, self.dtype, self.axis_name, name=f"layer{i}_{j}")
                x, pre = block(x, train)
            features |= {f"stage{i}": x, f"stage{i}_pre": pre}
        features["pooled"] = layers.pool(x)
        logits = layers.head(self.num_classes, x.shape[-1])(features["pooled"])
        return Outputs(logits, features)
