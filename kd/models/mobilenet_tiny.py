"""The person detector of MLPerf Tiny, a benchmark of microcontrollers."""

import flax.linen as nn

from kd.models import layers
from kd.models.initializers import he_normal
from kd.models.keras import Norm, conv, glorot_uniform
from kd.ranges import Classes, Width
from kd.types import Outputs

WIDTHS = (2, 4, 4, 8, 8, *(16,) * 6, 32, 32)
"""Channels of the blocks, in those of the stem."""

HALVED = (2, 4, 6, 12)
"""Blocks that halve the map."""


class MobileNetTiny(nn.Module):
    """MobileNetV1 with a quarter of its channels, for 96 x 96 images.

    It has 221,794 numbers, of which 216,322 are trained, and 7.49 M MACs.

    Banbury et al. MLPerf Tiny Benchmark. NeurIPS Datasets and Benchmarks 2021.
    https://arxiv.org/abs/2106.07597, visual wake words; the network is the repository's
    `mobilenet_v1`, after Howard et al., MobileNets, 2017, https://arxiv.org/abs/1704.04861, table 1
    with alpha = 0.25. It is not `mobilenet.MobileNetV1`: as in Keras, convolutions have biases
    before BatchNorm, and a stride of 2 pads zeros only on the right and below.

    Attributes:
      num_classes: c.
      width: channels of the stem; 32 is MobileNetV1 at full width.

    Features: `stem`, and `stage1` to `stage4` with 4, 8, 16, 32 times `width` channels after the
    ReLU of the last block at each resolution; `stage1_pre`, ... before it; `pooled` [b, d].
    """

    num_classes: Classes = 2
    width: Width = 8

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        layers.check_image(self, image, "conv", smallest=33)
        x = conv(self.width, (3, 3), 2, kernel_init=he_normal, name="conv")(image)
        x = nn.relu(Norm(name="norm")(x, train))
        features = {"stem": x}
        stage_of = {3: "stage1", 5: "stage2", 11: "stage3", 13: "stage4"}
        for i, times in enumerate(WIDTHS, start=1):
            d, stride = x.shape[-1], 2 if i in HALVED else 1
            x = conv(d, (3, 3), stride, groups=d, name=f"depthwise_conv{i}")(x)
            x = nn.relu(Norm(name=f"depthwise_norm{i}")(x, train))
            width = times * self.width
            x = conv(width, (1, 1), kernel_init=he_normal, name=f"point_conv{i}")(x)
            pre = Norm(name=f"point_norm{i}")(x, train)
            x = nn.relu(pre)
            if i in stage_of:
                features |= {stage_of[i]: x, f"{stage_of[i]}_pre": pre}
        features["pooled"] = layers.pool(x)
        head = nn.Dense(self.num_classes, kernel_init=glorot_uniform, name="head")
        return Outputs(head(features["pooled"]), features)
