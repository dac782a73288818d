"""The keyword spotter of MLPerf Tiny, a benchmark of microcontrollers."""

import flax.linen as nn
import jax.numpy as jnp

from kd.models import layers
from kd.models.keras import Norm, conv, glorot_uniform
from kd.ranges import Classes, Probability, Width
from kd.types import Outputs

BLOCKS = 4
"""Depthwise separable convolutions after the stem."""


class DSCNN(nn.Module):
    """Depthwise separable convolutions on a map of features of speech, time by coefficients.

    On maps of 49 x 10 MFCCs it has 24,908 numbers, of which 23,756 are trained, and 2.66 M MACs.

    Banbury et al. MLPerf Tiny Benchmark. NeurIPS Datasets and Benchmarks 2021.
    https://arxiv.org/abs/2106.07597, keyword spotting; the network is the repository's `ds_cnn`,
    after Zhang et al., Hello Edge, 2017, https://arxiv.org/abs/1711.07128. As in Keras,
    convolutions have biases before BatchNorm and pad as `SAME`. The last pooling is over half the
    input's height and width, so that of a map of 25 rows the last is left out, as there.

    Attributes:
      num_classes: c, ten words, silence and unknown.
      width: channels of every layer.
      dropout: probability of dropping an activation of the stem in training.
      pool_dropout: the same for the map before it is pooled.

    Input: a series [b, t, d] of d features, or the same as images [b, t, d, 1].

    Features: `stem` and `stage1` to `stage4`, the separable convolutions, after their ReLU,
    `stage1_pre`, ... before it; `pooled` [b, d].
    """

    num_classes: Classes = 12
    width: Width = 64
    dropout: Probability = 0.2
    pool_dropout: Probability = 0.4

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        x = jnp.asarray(image)[..., None] if image.ndim == 3 else image
        layers.check_image(self, x, "conv", smallest=4)
        window = x.shape[1] // 2, x.shape[2] // 2
        x = conv(self.width, (10, 4), 2, name="conv")(x)
        x = nn.relu(Norm(name="norm")(x, train))
        features = {"stem": x}
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for i in range(1, BLOCKS + 1):
            x = conv(self.width, (3, 3), groups=self.width, name=f"depthwise_conv{i}")(x)
            x = nn.relu(Norm(name=f"depthwise_norm{i}")(x, train))
            x = conv(self.width, (1, 1), name=f"point_conv{i}")(x)
            pre = Norm(name=f"point_norm{i}")(x, train)
            x = nn.relu(pre)
            features |= {f"stage{i}": x, f"stage{i}_pre": pre}
        x = nn.Dropout(self.pool_dropout, deterministic=not train)(x)
        x = nn.avg_pool(x, window, strides=window)
        features["pooled"] = x.reshape(len(x), -1)
        head = nn.Dense(self.num_classes, kernel_init=glorot_uniform, name="head")
        return Outputs(head(features["pooled"]), features)
