"""Variational information distillation (VID): a Gaussian around the predicted features."""

import math
from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import Conv, Name, as_map, pairs, same_size, total
from kd.ranges import Range
from kd.types import View


def gaussian_nll(
    mean: Float[Array, "b ..."], variance: Float[Array, "..."], target: Float[Array, "b ..."]
) -> Float[Array, " b"]:
    """Mean over all axes but the batch of ((mean - target)^2 / variance + log variance) / 2, [b].

    `variance` is broadcast to the shape of `mean`; [d] is one per channel. log(2 pi) / 2 is left
    out, as in the public code.

    Ahn, Hu, Damianou, Lawrence, Dai. Variational Information Distillation for Knowledge Transfer.
    CVPR 2019. https://arxiv.org/abs/1904.05835, the Gaussian of section 2.
    """
    mean, variance, target = (
        jnp.broadcast_to(x.astype(jnp.float32), mean.shape) for x in (mean, variance, target)
    )
    nll = 0.5 * ((mean - target) ** 2 / variance + jnp.log(variance))
    return jnp.mean(nll, axis=tuple(range(1, mean.ndim)))


class VID(nn.Module):
    """Sum of `gaussian_nll` over stages, with a trained regressor and one variance per channel.

    The regressor, three 1 x 1 convolutions without bias, predicts the teacher's map. The variance
    is softplus(log_scale) + eps, as in Ahn et al. 2019. It is trained; in one public code it never
    is. The larger map is pooled to the size of the smaller before the regressor.

    Attributes:
      features: pairs of maps; None: all stages of both networks.
      variance: at the start.
      eps: least variance.
    """

    features: Sequence[Name] | None = None
    variance: Annotated[float, Range(above=0, most=100)] = 5.0
    eps: Annotated[float, Range(above=0, most=100)] = 1e-5

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        if self.variance <= self.eps:
            raise InputError(
                f"vid.VID: variance = {self.variance:zg} must be above the least variance, eps = "
                f"{self.eps:zg}."
            )
        losses = []
        start = nn.initializers.constant(math.log(math.expm1(self.variance - self.eps)))
        for i, (student, teacher) in enumerate(pairs(view, self.features), start=1):
            x, teacher = same_size(as_map(student), as_map(teacher))
            width = teacher.shape[-1]
            for j in (1, 2, 3):
                name = f"regressor{i}_conv{j}"
                x = Conv(width, (1, 1), use_bias=False, name=name)(x if j == 1 else nn.relu(x))
            scale = self.param(f"log_scale{i}", start, (width,), jnp.float32)
            losses.append(gaussian_nll(x, jax.nn.softplus(scale) + self.eps, teacher))
        return total(losses)
