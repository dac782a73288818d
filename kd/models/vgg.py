"""VGG with BatchNorm and one linear layer, for images of 32 x 32 or 64 x 64."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from kd.models import initializers, layers
from kd.models.norm import BatchNorm
from kd.ranges import Classes, Depth, Length
from kd.types import Outputs


class VGG(nn.Module):
    """Simonyan, Zisserman. Very Deep Convolutional Networks. ICLR 2015.
    https://arxiv.org/abs/1409.1556, table 1.

    Attributes:
      blocks: number of 3 x 3 convolutions in each of the five blocks. A 2 x 2 max pool follows each
        of the first three, and the fourth where images are 64 x 64 or more.
      num_classes: c.
      dtype: of the computation; parameters, statistics, `pooled` and logits stay float32.
      axis_name: see `BatchNorm`.

    Features: `stem` and `stage1` to `stage4` after the last ReLU of each block, before its pool;
    `pooled` [b, 512]. `stage1_pre` to `stage4_pre` are before that ReLU. BatchNorm right before it:
    `block1_bn0` and so on, the block's last.
    """

    blocks: Annotated[Sequence[Depth], Length(1)]
    num_classes: Classes = 100
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        layers.check_image(self, image, "block0_conv0", smallest=16)
        conv = partial(layers.conv, kernel=3, use_bias=True, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        pools = 4 if min(image.shape[1:3]) >= 64 else 3
        x, features = jnp.asarray(image), {}
        for i, count in enumerate(self.blocks):
            if 0 < i <= pools:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            pre = x
            for j in range(count):
                x = conv(64 * 2 ** min(i, 3), name=f"block{i}_conv{j}")(x)
                pre = norm(name=f"block{i}_bn{j}")(x, train)
                x = nn.relu(pre)
            name = f"stage{i}" if i else "stem"
            features |= {name: x, f"{name}_pre": pre}
        del features["stem_pre"]
        features["pooled"] = layers.pool(x)
        head = layers.head(self.num_classes, 512, initializers.normal_001, initializers.zeros)
        return Outputs(head(features["pooled"]), features)


vgg8 = partial(VGG, (1, 1, 1, 1, 1))
vgg11 = partial(VGG, (1, 1, 2, 2, 2))
vgg13 = partial(VGG, (2, 2, 2, 2, 2))
vgg16 = partial(VGG, (2, 2, 3, 3, 3))
vgg19 = partial(VGG, (2, 2, 4, 4, 4))

# A block is a sequence of convolution, BatchNorm and ReLU.
TORCH_NAMES = (
    (
        (r"^block(\d)_conv(\d)", lambda m: f"block{m[1]}.{3 * int(m[2])}"),
        (r"^block(\d)_bn(\d)", lambda m: f"block{m[1]}.{3 * int(m[2]) + 1}"),
        (r"^head", "classifier"),
    ),
)
