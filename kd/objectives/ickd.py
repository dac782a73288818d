"""Inter-channel correlation (ICKD): channels correlate as they do in the teacher."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import BatchNorm, Conv, Name, as_map, einsum, last, unit
from kd.types import View


def channel_correlation(
    student: Float[Array, "b h w d"], teacher: Float[Array, "b h2 w2 d"]
) -> Float[Array, " b"]:
    """Sum of (G_s - G_t)^2 / d, [b].

    G holds the inner products [d, d] of a map's channels, each row scaled to length 1.

    Liu et al. Exploring Inter-Channel Correlation for Diversity-Preserved Knowledge Distillation.
    ICCV 2021. https://arxiv.org/abs/2202.03680, ICKD-C, rows scaled as in the authors' code for
    CIFAR-100.
    """
    gram = lambda x: unit(einsum("bhwi,bhwj->bij", x.astype(jnp.float32), x.astype(jnp.float32)))
    difference = gram(student) - gram(teacher)
    return jnp.sum(difference**2, axis=(1, 2)) / difference.shape[-1]


class ICKD(nn.Module):
    """`channel_correlation` of one pair of maps.

    The student's map passes a 1 x 1 convolution without bias and BatchNorm.

    Attributes:
      feature: pair of maps; None: the last stage of each network.
    """

    feature: Name | None = None

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        student, teacher = map(as_map, last(view, self.feature))
        x = Conv(teacher.shape[-1], (1, 1), use_bias=False, name="embed")(student)
        return channel_correlation(BatchNorm(name="norm")(x), teacher)
