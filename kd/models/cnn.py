"""Small convolutional networks for images and series, of the size of a microcontroller."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import BatchNorm
from kd.models.initializers import kaiming_normal
from kd.ranges import Classes, Depth, Probability, Widths
from kd.types import Outputs


class CNN(nn.Module):
    """Stages of convolution, BatchNorm and ReLU; then the mean over places and a linear head.

    Each stage but the first halves the resolution. Images [b, h, w, c] get 3 x 3 convolutions,
    series [b, t, c] convolutions of 3 steps.

    Attributes:
      num_classes: size of the output.
      widths: channels of each stage.
      depth: convolutions in each stage; the first of a stage has the stride.
      dropout: probability of dropping a pooled feature in training.
      dtype: of the convolutions; parameters, statistics, `pooled` and logits stay float32.

    Features: `stage1`, `stage2`, ... after each stage's last ReLU, `stage1_pre`, ... before it, and
    `pooled` [b, width].
    """

    num_classes: Classes
    widths: Widths = (16, 32, 64)
    depth: Depth = 1
    dropout: Probability = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b ..."], train: bool = False) -> Outputs:
        space = image.ndim - 2
        if space not in (1, 2):
            raise InputError(
                f"cnn.CNN takes images [b, h, w, c] or series [b, t, c], got {image.shape}."
            )
        x, features = image, {}
        for i, width in enumerate(self.widths, start=1):
            for j in range(self.depth):
                stride = 2 if i > 1 and j == 0 else 1
                x = nn.Conv(
                    width,
                    (3,) * space,
                    (stride,) * space,
                    use_bias=False,
                    kernel_init=kaiming_normal,
                    dtype=self.dtype,
                    name=f"conv{i}_{j}",
                )(x)
                norm = f"norm{i}_{j}"
                x = BatchNorm(not train, momentum=0.9, dtype=self.dtype, name=norm)(x)
                if j == self.depth - 1:
                    features[f"stage{i}_pre"] = x
                x = nn.relu(x)
            features[f"stage{i}"] = x
        x = jnp.mean(x.astype(jnp.float32), axis=tuple(range(1, space + 1)))
        features["pooled"] = x
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Outputs(nn.Dense(self.num_classes, name="head")(x).astype(jnp.float32), features)
