"""Relational KD (RKD): distances and angles between the examples of a batch."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import Name, einsum, flat, pair, unit
from kd.ranges import NonNegative
from kd.types import View


def _huber(difference: Float[Array, "..."]) -> Float[Array, "..."]:
    """d^2 / 2 where |d| < 1, else |d| - 1/2. Park et al. 2019, l_delta."""
    size = jnp.abs(difference)
    return jnp.where(size < 1, 0.5 * difference**2, size - 0.5)


def _distances(x: Float[Array, "b d"]) -> Float[Array, "b b"]:
    """Distances of all pairs over their mean distance.

    A squared distance is at least 1e-12, so that examples which coincide have no gradient.
    """
    if x.shape[0] < 2:
        raise InputError("RKD compares examples: it needs a batch of two or more.")
    x = x.astype(jnp.float32)
    # Distances do not depend on the origin, and near it the products below keep more digits.
    x = x - jnp.mean(x, axis=0, keepdims=True)
    square = jnp.sum(x**2, axis=-1)
    products = einsum("id,jd->ij", x, x)
    distinct = ~jnp.eye(len(x), dtype=bool)
    squared = square[:, None] + square[None, :] - 2 * products
    distance = jnp.where(distinct, jnp.sqrt(jnp.where(squared > 1e-12, squared, 1e-12)), 0.0)
    return distance / (jnp.sum(distance) / (len(x) * (len(x) - 1)))


def rkd_distance(student: Float[Array, "b d"], teacher: Float[Array, "b e"]) -> Float[Array, ""]:
    """Mean over all [b, b] pairs of the Huber loss of distances over their mean distance.

    Park, Kim, Lu, Cho. Relational Knowledge Distillation. CVPR 2019.
    https://arxiv.org/abs/1904.05068, section 3.2.1, L_RKD-D.

    Embeddings of different widths and scales can be compared:

        >>> student = jnp.array([[0.0], [1.0], [2.0]])
        >>> teacher = jnp.array([[0.0, 0], [0, 7], [0, 14]])
        >>> rkd_distance(student, teacher)
        Array(0., dtype=float32)
    """
    return jnp.mean(_huber(_distances(student) - _distances(teacher)))


def _angles(x: Float[Array, "b d"]) -> Float[Array, "b b b"]:
    """Cosine of the angle at each example between every two others, [vertex, one, other]."""
    x = x.astype(jnp.float32)
    direction = unit(x[None, :, :] - x[:, None, :])
    return einsum("aid,ajd->aij", direction, direction)


def rkd_angle(student: Float[Array, "b d"], teacher: Float[Array, "b e"]) -> Float[Array, ""]:
    """Mean over all [b, b, b] triples of the Huber loss of the cosines of their angles.

    Park et al. 2019, section 3.2.2, L_RKD-A. Between two examples that coincide the direction is
    undefined: it is taken as zero, with zero gradient.
    """
    return jnp.mean(_huber(_angles(student) - _angles(teacher)))


class RKD(nn.Module):
    """25 times `rkd_distance` plus 50 times `rkd_angle`, as in the tables, over the global batch.

    Attributes:
      feature: pair of features.
      distance: weight of `rkd_distance`.
      angle: weight of `rkd_angle`.
    """

    feature: Name = "pooled"
    distance: NonNegative = 25.0
    angle: NonNegative = 50.0

    least_batch = 2  # see `kd.objective`

    def __call__(self, view: View) -> Float[Array, ""]:
        student, teacher = map(flat, pair(view, self.feature))
        return self.distance * rkd_distance(student, teacher) + self.angle * rkd_angle(
            student, teacher
        )
