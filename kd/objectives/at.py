"""Attention transfer (AT): the student attends to the same places as the teacher."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Name, maps, same_size, total, unit
from kd.types import View


def attention(map: Float[Array, "b h w d"]) -> Float[Array, "b hw"]:
    """Attention map: mean over channels of the squared map, flattened and of length 1, [b, hw].

    Zagoruyko, Komodakis. Paying More Attention to Attention. ICLR 2017.
    https://arxiv.org/abs/1612.03928, section 3.1, F_sum^2 up to the scale.

    Of two places with two channels each, the second is attended to more:

        >>> attention(jnp.array([[[[1.0, 1.0], [0.0, 2.0]]]]))
        Array([[0.447, 0.894]], dtype=float32)
    """
    power = jnp.mean(map.astype(jnp.float32) ** 2, axis=-1)
    return unit(power.reshape(power.shape[0], -1))


def attention_transfer(
    student: Float[Array, "b h w d"], teacher: Float[Array, "b h2 w2 d2"]
) -> Float[Array, " b"]:
    """Mean over places of (attention of the student - attention of the teacher)^2, [b].

    The larger map is pooled to the size of the smaller. Widths may differ.

    Zagoruyko, Komodakis 2017, Eq. 2, as in the public code: a mean of squares, where the paper has
    the length of the difference.

    Attention sees neither the scale of a map nor its number of channels:

        >>> student = jnp.array([[[[1.0], [2.0]]]])
        >>> teacher = jnp.array([[[[3.0, 3.0], [6.0, 6.0]]]])
        >>> attention_transfer(student, teacher)
        Array([0.], dtype=float32)
        >>> attention_transfer(student[:, :, ::-1], teacher)
        Array([0.529], dtype=float32)
    """
    student, teacher = same_size(student, teacher)
    return jnp.mean((attention(student) - attention(teacher)) ** 2, axis=-1)


class AT(nn.Module):
    """Sum of `attention_transfer` over stages.

    Attributes:
      features: pairs of maps; None: all stages of both networks.
    """

    features: Sequence[Name] | None = None

    def __call__(self, view: View) -> Float[Array, " b"]:
        return total(attention_transfer(s, t) for s, t in maps(view, self.features))
