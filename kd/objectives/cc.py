"""Correlation congruence (CC): both networks relate neighbours of a batch alike."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import Dense, Name, flat, pair
from kd.ranges import Width
from kd.types import View


def correlation_congruence(
    student: Float[Array, "b d"], teacher: Float[Array, "b d"]
) -> Float[Array, ""]:
    """Mean over i of sum_k |s - t|_{i,k} |s - t|_{i+1,k}: examples i and i + 1 are neighbours.

    Peng et al. Correlation Congruence for Knowledge Distillation. ICCV 2019.
    https://arxiv.org/abs/1904.01802. The tables ran this form, which the authors gave to those of
    the public code; the paper compares kernel matrices of all pairs. The loss depends on the order
    of the batch.

    Raises:
      InputError: a batch of one.
    """
    if student.shape[0] < 2:
        raise InputError("CC compares neighbours in a batch: it needs two examples or more.")
    difference = jnp.abs(student.astype(jnp.float32) - teacher.astype(jnp.float32))
    return jnp.mean(jnp.sum(difference[:-1] * difference[1:], axis=-1))


class CC(nn.Module):
    """`correlation_congruence` of two linear embeddings, both trained, over the global batch.

    Attributes:
      feature: pair of features.
      width: of the embeddings.
    """

    feature: Name = "pooled"
    width: Width = 128

    least_batch = 2  # see `kd.objective`

    @nn.compact
    def __call__(self, view: View) -> Float[Array, ""]:
        student, teacher = map(flat, pair(view, self.feature))
        return correlation_congruence(
            Dense(self.width, name="embed_student")(student),
            Dense(self.width, name="embed_teacher")(teacher),
        )
