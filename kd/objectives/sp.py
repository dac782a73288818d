"""Similarity-preserving distillation: images that are alike for the teacher are alike for the
student.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Name, einsum, flat, last, unit
from kd.types import View


def similarity_preserving(
    student: Float[Array, "b ..."], teacher: Float[Array, "b ..."]
) -> Float[Array, ""]:
    """|G_s - G_t|_F^2 / b^2, where G are inner products between the examples of a batch, each row
    scaled to length 1.

    Each side is flattened as it is, so sizes and widths may differ.

    Tung, Mori. Similarity-Preserving Knowledge Distillation. ICCV 2019.
    https://arxiv.org/abs/1907.09682, Eq. 1 to 3.
    """
    gram = lambda x: unit(einsum("id,jd->ij", flat(x), flat(x)))
    return jnp.mean((gram(teacher) - gram(student)) ** 2)


class SP(nn.Module):
    """`similarity_preserving` of one pair of features: the last stage of each network where `feature` is None.
    It sees the global batch.
    """

    feature: Name | None = None

    def __call__(self, view: View) -> Float[Array, ""]:
        return similarity_preserving(*last(view, self.feature))
