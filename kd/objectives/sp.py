"""Similarity preserving (SP): images that are similar to the teacher are to the student."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Name, einsum, flat, last, unit
from kd.types import View


def similarity_preserving(
    student: Float[Array, "b ..."], teacher: Float[Array, "b ..."]
) -> Float[Array, ""]:
    """|G_s - G_t|_F^2 / b^2, G the inner products between examples, each row scaled to length 1.

    Each side is flattened, so sizes and widths may differ.

    Tung, Mori. Similarity-Preserving Knowledge Distillation. ICCV 2019.
    https://arxiv.org/abs/1907.09682, Eq. 1 to 3.

    The student tells two images apart that are alike for the teacher:

        >>> student = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> teacher = jnp.array([[1.0, 1.0], [1.0, 1.0]])
        >>> similarity_preserving(student, teacher)
        Array(0.293, dtype=float32)
    """
    gram = lambda x: unit(einsum("id,jd->ij", flat(x), flat(x)))
    return jnp.mean((gram(teacher) - gram(student)) ** 2)


class SP(nn.Module):
    """`similarity_preserving` of one pair of features, over the global batch.

    Attributes:
      feature: pair of features; None: the last stage of each network.
    """

    feature: Name | None = None

    def __call__(self, view: View) -> Float[Array, ""]:
        return similarity_preserving(*last(view, self.feature))
