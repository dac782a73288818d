"""The student's network."""

import flax.linen as nn
import jax

import kd


class Small(nn.Module):
    """One hidden layer.

    All fields but `num_classes` need a default. Each can be set in the config.
    """

    num_classes: int
    width: int = 16

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False) -> kd.Outputs:
        """Logits [b, c] of images [b, h, w, d], and features that other losses may use."""
        x = image.reshape(image.shape[0], -1)
        x = nn.relu(nn.Dense(self.width, name="hidden")(x))
        return kd.Outputs(nn.Dense(self.num_classes, name="head")(x), {"pooled": x})
