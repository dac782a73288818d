"""Simple recipe (SRD): log of a power of the distance between normalised features."""

from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import BatchNorm, Dense, Name, flat, pair
from kd.ranges import Range
from kd.types import View


def log_sum(
    student: Float[Array, "b d"], teacher: Float[Array, "b d"], exponent: float = 4.0
) -> Float[Array, ""]:
    """log sum |student - teacher|^exponent, over both axes.

    Miles, Mikolajczyk. Understanding the Role of the Projector in Knowledge Distillation. AAAI
    2024. https://arxiv.org/abs/2303.11098, section 3 (LogSum). Equal sides give the log of 1e-30,
    with zero gradient, where the formula diverges.
    """
    difference = jnp.abs(student.astype(jnp.float32) - teacher.astype(jnp.float32))
    return jnp.log(jnp.maximum(jnp.sum(difference**exponent), 1e-30))


class SRD(nn.Module):
    """`log_sum` of the student's projected feature and of the teacher's, over the global batch.

    The projector is linear; both sides pass BatchNorm without scale and bias. The authors add this
    term, twice, to the divergence of the logits at T = 1 and to the cross entropy.

    Attributes:
      feature: pair of features.
      exponent: see `log_sum`.
    """

    feature: Name = "pooled"
    exponent: Annotated[float, Range(1, 16)] = 4.0

    @nn.compact
    def __call__(self, view: View) -> Float[Array, ""]:
        student, teacher = map(flat, pair(view, self.feature))
        norm = lambda name: BatchNorm(epsilon=1e-4, use_scale=False, use_bias=False, name=name)
        projected = Dense(teacher.shape[-1], name="projector")(student)
        return log_sum(
            norm("norm_student")(projected), norm("norm_teacher")(teacher), self.exponent
        )
