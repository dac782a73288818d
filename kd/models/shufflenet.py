"""ShuffleNets V1 and V2 for 32 x 32 images: a 1 x 1 stem without stride, and no max pool."""

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

_conv = partial(layers.conv, kernel_init=initializers.default_kernel)


def shuffle(x: Float[Array, "b h w d"], groups: int) -> Float[Array, "b h w d"]:
    """Channel i of group g becomes channel g of group i."""
    grouped = x.reshape(*x.shape[:-1], groups, -1)
    return jnp.swapaxes(grouped, -1, -2).reshape(x.shape)


class _UnitV1(nn.Module):
    """Zhang et al., figure 2 b and c. Returns the output after and before its last ReLU.

    With stride 2 the pooled input is concatenated behind the convolutions' output, to `features`
    channels together.
    """

    features: int
    stride: int
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Map, train: bool) -> tuple[Map, Map]:
        conv = partial(_conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        features = self.features - (x.shape[-1] if self.stride == 2 else 0)
        middle = features // 4
        groups = 1 if x.shape[-1] == 24 else 3  # the stem has too few channels for groups
        y = conv(middle, 1, groups=groups, name="conv1")(x)
        y = shuffle(nn.relu(norm(name="bn1")(y, train)), groups)
        y = conv(middle, 3, self.stride, groups=middle, name="conv2")(y)
        y = nn.relu(norm(name="bn2")(y, train))
        y = conv(features, 1, groups=3, name="conv3")(y)
        y = norm(name="bn3")(y, train)
        if self.stride == 2:
            x = nn.avg_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
            pre = jnp.concatenate([y, x], axis=-1)
        else:
            pre = y + x
        return nn.relu(pre), pre


class ShuffleV1(nn.Module):
    """Zhang et al. ShuffleNet. CVPR 2018. https://arxiv.org/abs/1707.01083, table 1, three groups,
    4, 8 and 4 units.

    Its depthwise convolutions are followed by a ReLU, which the paper omits.

    Attributes:
      num_classes: c.
      dtype: of the computation; parameters, statistics, `pooled` and logits stay float32.
      axis_name: see `BatchNorm`.

    Features: `stem`; `stage1` to `stage3` with 240, 480, 960 channels after the last ReLU of each;
    `pooled` [b, 960]; `stage1_pre` to `stage3_pre` before that ReLU, a sum, so that no BatchNorm
    comes right before.
    """

    num_classes: Classes = 100
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        layers.check_image(self, image, "conv1", smallest=9)
        norm = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name="bn1")
        x = _conv(24, 1, dtype=self.dtype, name="conv1")(image)
        x = nn.relu(norm(x, train))
        features = {"stem": x}
        for i, (width, count) in enumerate(((240, 4), (480, 8), (960, 4)), start=1):
            pre = x
            for j in range(count):
                stride = 2 if j == 0 else 1
                unit = _UnitV1(width, stride, self.dtype, self.axis_name, name=f"layer{i}_{j}")
                x, pre = unit(x, train)
            features |= {f"stage{i}": x, f"stage{i}_pre": pre}
        features["pooled"] = layers.pool(x)
        return Outputs(layers.head(self.num_classes, 960)(features["pooled"]), features)


class _DownV2(nn.Module):
    """Ma et al., figure 3 d: two branches with stride 2, concatenated and shuffled."""

    features: int
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Map, train: bool) -> Map:
        conv = partial(_conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        d, half = x.shape[-1], self.features // 2
        left = conv(d, 3, 2, groups=d, name="conv1")(x)
        left = norm(name="bn1")(left, train)
        left = conv(half, 1, name="conv2")(left)
        left = nn.relu(norm(name="bn2")(left, train))
        right = conv(half, 1, name="conv3")(x)
        right = nn.relu(norm(name="bn3")(right, train))
        right = conv(half, 3, 2, groups=half, name="conv4")(right)
        right = norm(name="bn4")(right, train)
        right = conv(half, 1, name="conv5")(right)
        right = nn.relu(norm(name="bn5")(right, train))
        return shuffle(jnp.concatenate([left, right], axis=-1), 2)


class _UnitV2(nn.Module):
    """Ma et al., figure 3 c: half of the channels pass through. Returns the output, and its
    channels before the shuffle and the last ReLU.
    """

    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Map, train: bool) -> tuple[Map, Map]:
        conv = partial(_conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        left, y = jnp.split(x, 2, axis=-1)
        half = y.shape[-1]
        y = conv(half, 1, name="conv1")(y)
        y = nn.relu(norm(name="bn1")(y, train))
        y = conv(half, 3, groups=half, name="conv2")(y)
        y = norm(name="bn2")(y, train)
        y = conv(half, 1, name="conv3")(y)
        pre = norm(name="bn3")(y, train)
        out = jnp.concatenate([left, nn.relu(pre)], axis=-1)
        return shuffle(out, 2), jnp.concatenate([left, pre], axis=-1)


class ShuffleV2(nn.Module):
    """Ma et al. ShuffleNet V2. ECCV 2018. https://arxiv.org/abs/1807.11164, table 5, full width.

    Attributes:
      num_classes: c.
      dtype: of the computation; parameters, statistics, `pooled` and logits stay float32.
      axis_name: see `BatchNorm`.

    Features: `stem`; `stage1` to `stage3` with 116, 232, 464 channels, the shuffled outputs of
    each; `pooled` [b, 1024]. `stage1_pre` to `stage3_pre` are before the last ReLU and before the
    shuffle, so their channels are in another order: the half that passed through, then that of the
    last unit's `bn3`.
    """

    num_classes: Classes = 100
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        layers.check_image(self, image, "conv1", smallest=9)
        conv = partial(_conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        x = conv(24, 1, name="conv1")(image)
        x = nn.relu(norm(name="bn1")(x, train))
        features = {"stem": x}
        for i, (width, count) in enumerate(((116, 3), (232, 7), (464, 3)), start=1):
            down = _DownV2(width, self.dtype, self.axis_name, name=f"layer{i}_0")
            pre = x = down(x, train)
            for j in range(1, count + 1):
                unit = _UnitV2(self.dtype, self.axis_name, name=f"layer{i}_{j}")
                x, pre = unit(x, train)
            features |= {f"stage{i}": x, f"stage{i}_pre": pre}
        x = conv(1024, 1, name="conv2")(x)
        features["pooled"] = layers.pool(nn.relu(norm(name="bn2")(x, train)))
        head = layers.head(self.num_classes, 1024)
        return Outputs(head(features["pooled"]), features)


TORCH_NAMES = (((r"^layer(\d)_(\d)", r"layer\1.\2"), (r"^head", "linear")),)
