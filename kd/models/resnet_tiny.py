"""The residual network of MLPerf Tiny, a benchmark of microcontrollers."""

from functools import partial

import flax.linen as nn
from jaxtyping import Array, Float

from kd.models import layers
from kd.models.initializers import he_normal
from kd.models.keras import Norm
from kd.ranges import Classes, Width
from kd.types import Outputs

Conv = partial(nn.Conv, padding="SAME", kernel_init=he_normal)


class ResNet8(nn.Module):
    """Three stages of one residual block with 16, 32 and 64 channels, for 32 x 32 images.

    It has 78,666 numbers, of which 78,186 are trained, and 12.5 M MACs. With a width of 40 it is
    IC02, the suite's larger image network: 482,730 numbers and 76.5 M MACs.

    Banbury et al. MLPerf Tiny Benchmark. NeurIPS Datasets and Benchmarks 2021.
    https://arxiv.org/abs/2106.07597, image classification; the network is the repository's
    `resnet_v1_eembc`. It is not `resnet_cifar.resnet8`: as in Keras, convolutions have biases
    before BatchNorm, a stride of 2 pads zeros only on the right and below, and a shortcut that
    changes the shape is a 1 x 1 convolution without BatchNorm.

    Attributes:
      num_classes: c.
      width: channels of the first stage, doubled in each that follows.

    Features: `stem`, `stage1`, `stage2`, `stage3` after their last ReLU, `stage1_pre`, ... before
    it, `pooled` [b, d].
    """

    num_classes: Classes = 10
    width: Width = 16

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        layers.check_image(self, image, "conv", smallest=5)
        x = Conv(self.width, (3, 3), name="conv")(image)
        x = nn.relu(Norm(name="norm")(x, train))
        features = {"stem": x}
        for i in (1, 2, 3):
            width, stride = self.width * 2 ** (i - 1), 1 if i == 1 else 2
            pre = _Block(width, stride, name=f"block{i}")(x, train)
            x = nn.relu(pre)
            features |= {f"stage{i}": x, f"stage{i}_pre": pre}
        features["pooled"] = layers.pool(x)
        head = nn.Dense(self.num_classes, kernel_init=he_normal, name="head")
        return Outputs(head(features["pooled"]), features)


class _Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut. Returns their sum, before its ReLU."""

    width: Width
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"], train: bool) -> Float[Array, "b h2 w2 d2"]:
        stride = (self.stride, self.stride)
        y = Conv(self.width, (3, 3), stride, name="conv1")(x)
        y = nn.relu(Norm(name="norm1")(y, train))
        y = Conv(self.width, (3, 3), name="conv2")(y)
        y = Norm(name="norm2")(y, train)
        if x.shape != y.shape:
            x = Conv(self.width, (1, 1), stride, name="shortcut")(x)
        return x + y
