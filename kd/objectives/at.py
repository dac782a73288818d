"""Attention transfer (AT): the student attends to the same places as the teacher."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Name, maps, same_size, total, unit
from kd.types import View


def attention(map: Float[Array, "b h w d"]) -> Float[Array, "b hw"]:
    """Mean over channels of the squared map, row after row, scaled to length 1.

    Zagoruyko, Komodakis. Paying More Attention to Attention. ICLR 2017.
    https://arxiv.org/abs/1612.03928, section 3.1, F_sum^2 up to the scale.
    """
    power = jnp.mean(map.astype(jnp.float32) ** 2, axis=-1)
    return unit(power.reshape(power.shape[0], -1))


def attention_transfer(
    student: Float[Array, "b h w d"], teacher: Float[Array, "b h2 w2 d2"]
) -> Float[Array, " b"]:
    """Mean over places of (attention of the student - that of the teacher)^2; the larger map is
    pooled to the smaller.

    Zagoruyko, Komodakis 2017, Eq. 2, as the public code has it: the mean of squares, where the
    paper writes the length of the difference.
    """
    student, teacher = same_size(student, teacher)
    return jnp.mean((attention(student) - attention(teacher)) ** 2, axis=-1)


class AT(nn.Module):
    """Sum of `attention_transfer` over stages.

    Attributes:
      features: pairs of maps; all stages of both where it is None.
    """

    features: Sequence[Name] | None = None

    def __call__(self, view: View) -> Float[Array, " b"]:
        return total(attention_transfer(s, t) for s, t in maps(view, self.features))
