"""LeNet-5: two convolutions, each with a pooling, and a classifier of dense layers."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from kd.models import layers
from kd.models.initializers import kaiming_normal
from kd.ranges import Classes, Widths
from kd.types import Outputs


class LeNet(nn.Module):
    """LeCun, Bottou, Bengio, Haffner. Gradient-Based Learning Applied to Document Recognition.
    Proceedings of the IEEE, 1998; with ReLU and maxima, as in papers on distillation.

    5 x 5 convolutions without normalisation: the first keeps the size of the image, as it does
    on images of 28 x 28 that are padded to 32 x 32, the others lose four places. 2 x 2 pooling.

    Attributes:
      num_classes: c.
      widths: channels of each convolution.
      units: of each dense layer before the head.
      dtype: of the layers; parameters, `pooled` and logits stay float32.

    Features: `stage1`, `stage2`, ... after each pooling, and `pooled`, the last dense layer after
    its ReLU, [b, units].
    """

    num_classes: Classes = 10
    widths: Widths = (6, 16)
    units: Widths = (120, 84)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        smallest = 2  # places of the last map
        for i in reversed(range(len(self.widths))):
            smallest = 2 * smallest + (4 if i else 0)
        layers.check_image(self, image, "conv1", smallest=smallest)
        init = dict(kernel_init=kaiming_normal, dtype=self.dtype)
        x, features = image, {}
        for i, width in enumerate(self.widths, start=1):
            padding = "SAME" if i == 1 else "VALID"
            x = nn.relu(nn.Conv(width, (5, 5), padding=padding, name=f"conv{i}", **init)(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
            features[f"stage{i}"] = x
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.units, start=1):
            x = nn.relu(nn.Dense(width, name=f"dense{i}", **init)(x))
        features["pooled"] = x.astype(jnp.float32)
        logits = nn.Dense(self.num_classes, name="head")(features["pooled"])
        return Outputs(logits.astype(jnp.float32), features)


lenet5 = partial(LeNet)
"""61,706 parameters on images of 28 x 28."""

lenet5_half = partial(LeNet, widths=(3, 8))
"""Half the channels, 35,820 parameters: the student of Nayak et al. 2019."""

lenet5_half_all = partial(LeNet, widths=(3, 8), units=(60, 42))
"""Half of all widths, 15,738 parameters: the student of Chen et al. 2019."""
