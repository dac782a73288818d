"""Masked generative distillation (MGD): a masked map must generate the teacher's map."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Conv, Name, as_map, last, mismatch
from kd.ranges import Probability
from kd.types import View


class MGD(nn.Module):
    """Sum over the map of (generated - teacher's)^2, [b].

    The student's map loses random channels and passes 3 x 3, ReLU, 3 x 3. Where widths differ, a
    1 x 1 convolution aligns them first. Sizes must be equal.

    Yang, Li, Shao, Shi, Yuan, Yuan. Masked Generative Distillation. ECCV 2022.
    https://arxiv.org/abs/2205.01529, with channels masked in place of pixels, as the authors do for
    classification.

    Attributes:
      feature: pair of maps; None: the last stage of each network.
      masked: probability that a channel of an image is masked.
    """

    feature: Name | None = None
    masked: Probability = 0.15

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        x, teacher = map(as_map, last(view, self.feature))
        if x.shape[1:3] != teacher.shape[1:3]:
            raise mismatch(
                view,
                f"MGD needs maps of one size: the student's is {x.shape[1:3]}, the teacher's "
                f"{teacher.shape[1:3]}",
            )
        b, _, _, width = teacher.shape
        if x.shape[-1] != width:
            x = Conv(width, (1, 1), name="align")(x)
        keep = jax.random.bernoulli(self.make_rng("objective"), 1 - self.masked, (b, 1, 1, width))
        x = nn.relu(Conv(width, (3, 3), name="generate1")(jnp.where(keep, x, 0.0)))
        x = Conv(width, (3, 3), name="generate2")(x)
        return jnp.sum((x - teacher) ** 2, axis=(1, 2, 3))
