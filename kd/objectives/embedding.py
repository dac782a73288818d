"""Embeddings: the student's feature, projected, is brought to a vector of the teacher's."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import unknown
from kd.features import Dense, Name, flat, pair, unit
from kd.objectives.fitnet import hint
from kd.types import View

DISTANCES = ("cosine", "mse")
"""Values of `Embedding.distance`."""


def unit_distance(student: Float[Array, "b d"], teacher: Float[Array, "b d"]) -> Float[Array, " b"]:
    """Squared distance of the unit vectors, 2 - 2 cos(student, teacher), [b].

    Grill et al. Bootstrap your own latent. NeurIPS 2020. https://arxiv.org/abs/2006.07733, Eq. 2,
    there of a prediction and a projection of two views.

        >>> unit_distance(jnp.array([[3.0, 0.0], [1.0, 1.0]]), jnp.array([[0.0, 2.0], [2.0, 2.0]]))
        Array([2., 0.], dtype=float32)
    """
    difference = unit(student.astype(jnp.float32)) - unit(teacher.astype(jnp.float32))
    return jnp.sum(difference**2, axis=-1)


class Embedding(nn.Module):
    """Distance of the student's vector, through a linear layer, from the teacher's, [b].

    It needs no labels and no classes: the vectors of a foundation model, stored in a file
    (`config.teacher.features`), will do. The student's classifier learns nothing by it.

    Attributes:
      feature: pair of features; of a file it is `pooled`.
      distance: `cosine`, `unit_distance`; or `mse`, `kd.losses.hint`, the mean squared difference.
    """

    feature: Name = "pooled"
    distance: str = "cosine"

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        if self.distance not in DISTANCES:
            raise unknown("value of distance in embedding.Embedding", self.distance, DISTANCES)
        student, teacher = map(flat, pair(view, self.feature))
        projected = Dense(teacher.shape[-1], name="projector")(student)
        return (unit_distance if self.distance == "cosine" else hint)(projected, teacher)
