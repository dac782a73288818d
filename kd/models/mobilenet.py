"""MobileNets: the half-width V2 of the CIFAR tables, and V1 for ImageNet."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kd.models import initializers, layers
from kd.models.norm import BatchNorm
from kd.ranges import Classes
from kd.types import Outputs

type Map = Float[Array, "b _ _ _"]


class _Inverted(nn.Module):
    """1 x 1 convolution to `expand` times the channels, 3 x 3 depthwise, 1 x 1 to `features`
    without ReLU.
    """

    features: int
    stride: int
    expand: int
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Map, train: bool) -> Map:
        conv = partial(layers.conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        width = self.expand * x.shape[-1]
        y = conv(width, 1, name="expand_conv")(x)
        y = nn.relu(norm(name="expand_bn")(y, train))
        y = conv(width, 3, self.stride, groups=width, name="depthwise_conv")(y)
        y = nn.relu(norm(name="depthwise_bn")(y, train))
        y = conv(self.features, 1, name="project_conv")(y)
        y = norm(name="project_bn")(y, train)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """Sandler et al. MobileNetV2. CVPR 2018. https://arxiv.org/abs/1801.04381, table 2, in the
    variant of the CIFAR tables.

    Half the channels without rounding to eights, ReLU in place of ReLU6, no dropout. The stem has
    stride 2 although images are 32 x 32, so the last map is 2 x 2; it is by far the cheapest of
    these networks.

    Attributes:
      num_classes: c.
      dtype: of the computation; parameters, statistics, `pooled` and logits stay float32.
      axis_name: see `BatchNorm`.

    Features: `stem` after its ReLU; `stage1` to `stage4`, the linear outputs of the second, third,
    fifth and seventh group of blocks, with 12, 16, 48, 160 channels; `pooled` [b, 1280]. No ReLU
    follows these blocks, so `stage1_pre` and so on are the same maps. BatchNorm right before: the
    block's `project_bn`, such as `block2_1/project_bn`.
    """

    num_classes: Classes = 100
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        layers.check_image(self, image, "stem_conv", smallest=17)
        conv = partial(layers.conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        x = conv(16, 3, 2, name="stem_conv")(image)
        x = nn.relu(norm(name="stem_bn")(x, train))
        features = {"stem": x}
        stage_of = {1: "stage1", 2: "stage2", 4: "stage3", 6: "stage4"}
        # Channels at full width, blocks and stride of each group.
        groups = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2))
        groups += ((96, 3, 1), (160, 3, 2), (320, 1, 1))
        for i, (width, count, stride) in enumerate(groups):
            for j in range(count):
                block = _Inverted(
                    width // 2,
                    stride if j == 0 else 1,
                    6 if i > 0 else 1,
                    self.dtype,
                    self.axis_name,
                    name=f"block{i}_{j}",
                )
                x = block(x, train)
            if i in stage_of:
                features |= {stage_of[i]: x, f"{stage_of[i]}_pre": x}
        x = conv(1280, 1, name="last_conv")(x)
        features["pooled"] = layers.pool(nn.relu(norm(name="last_bn")(x, train)))
        head = layers.head(self.num_classes, 1280, initializers.normal_001, initializers.zeros)
        return Outputs(head(features["pooled"]), features)


class MobileNetV1(nn.Module):
    """Howard et al. MobileNets. 2017. https://arxiv.org/abs/1704.04861, table 1: 224 x 224 images,
    full width.

    Attributes:
      num_classes: c.
      dtype: of the computation; parameters, statistics, `pooled` and logits stay float32.
      axis_name: see `BatchNorm`.

    Features: `stem`, and `stage1` to `stage4` with 128, 256, 512, 1024 channels after the ReLU of
    the last block at each resolution; `pooled` [b, 1024]; `stage1_pre` and so on before that ReLU.
    BatchNorm right before it: `point_bn3`, `point_bn5`, `point_bn11`, `point_bn13`.
    """

    num_classes: Classes = 1000
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        layers.check_image(self, image, "stem_conv", smallest=33)
        conv = partial(layers.conv, kernel_init=initializers.default_kernel, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        x = conv(32, 3, 2, name="stem_conv")(image)
        x = nn.relu(norm(name="stem_bn")(x, train))
        features = {"stem": x}
        stage_of = {3: "stage1", 5: "stage2", 11: "stage3", 13: "stage4"}
        widths = (64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024)
        for i, width in enumerate(widths, start=1):
            stride = 2 if i in (2, 4, 6, 12) else 1
            d = x.shape[-1]
            x = conv(d, 3, stride, groups=d, name=f"depthwise_conv{i}")(x)
            x = nn.relu(norm(name=f"depthwise_bn{i}")(x, train))
            x = conv(width, 1, name=f"point_conv{i}")(x)
            pre = norm(name=f"point_bn{i}")(x, train)
            x = nn.relu(pre)
            if i in stage_of:
                features |= {stage_of[i]: x, f"{stage_of[i]}_pre": pre}
        features["pooled"] = layers.pool(x)
        head = layers.head(self.num_classes, 1024)
        return Outputs(head(features["pooled"]), features)


_V2 = (
    (r"^stem_conv", "conv1.0"),
    (r"^stem_bn", "conv1.1"),
    (r"^block(\d)_(\d)", r"blocks.\1.\2.conv"),
    (r"expand_conv", "0"),
    (r"expand_bn", "1"),
    (r"depthwise_conv", "3"),
    (r"depthwise_bn", "4"),
    (r"project_conv", "6"),
    (r"project_bn", "7"),
    (r"^last_conv", "conv2.0"),
    (r"^last_bn", "conv2.1"),
)
_V1 = (
    (r"^stem_conv", "model.0.0"),
    (r"^stem_bn", "model.0.1"),
    (r"^depthwise_conv(\d+)", r"model.\1.0"),
    (r"^depthwise_bn(\d+)", r"model.\1.1"),
    (r"^point_conv(\d+)", r"model.\1.3"),
    (r"^point_bn(\d+)", r"model.\1.4"),
    (r"^head", "fc"),
)
TORCH_NAMES = ((*_V2, (r"^head", "classifier.0")), (*_V2, (r"^head", "classifier")), _V1)
