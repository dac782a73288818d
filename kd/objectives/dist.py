"""DIST: the student keeps the teacher's correlations, not its exact probabilities."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.ranges import NonNegative, Temperature
from kd.types import View


def inter_class(student: Float[Array, "b c"], teacher: Float[Array, "b c"]) -> Float[Array, ""]:
    """1 - mean over examples of Pearson's correlation of the two rows of probabilities.

    Huang, You, Wang, Qian, Xu. Knowledge Distillation from A Stronger Teacher. NeurIPS 2022.
    https://arxiv.org/abs/2205.10536, the inter-class relation; 1e-8 is added to the product of the
    lengths, as in the public code.

    A row without spread, on either side, correlates with nothing: its term is 1 and has no
    gradient, where the formula's gradient is 1e8.

    Args:
      student: probabilities.
      teacher: probabilities.
    """
    s, t = _centre(student), _centre(teacher)
    square = jnp.sum(s**2, axis=-1) * jnp.sum(t**2, axis=-1)
    spread = square > 0
    lengths = jnp.sqrt(jnp.where(spread, square, 1.0))
    correlation = jnp.where(spread, jnp.sum(s * t, axis=-1) / (lengths + 1e-8), 0.0)
    return 1 - jnp.mean(correlation)


def _centre(p: Float[Array, "b c"]) -> Float[Array, "b c"]:
    p = p.astype(jnp.float32)
    return p - jnp.mean(p, axis=-1, keepdims=True)


def intra_class(student: Float[Array, "b c"], teacher: Float[Array, "b c"]) -> Float[Array, ""]:
    """`inter_class` of the columns: each class's probabilities over the batch.

    Huang et al. 2022, the intra-class relation.
    """
    return inter_class(student.T, teacher.T)


class DIST(nn.Module):
    """T^2 (beta inter + gamma intra) of softmax(z / T).

    Huang et al. 2022, their loss without its cross entropy. T^2 is in the authors' classification
    code and not in the paper; it is 1 for their ImageNet runs (T = 1) and 16 for CIFAR (T = 4). The
    loss compares examples, so it is a scalar of the global batch.

    With two classes, rows correlate with 1 or -1 and have no gradient: only `intra` has one.

    Attributes:
      temperature: T.
      beta: weight of `inter_class`.
      gamma: weight of `intra_class`.
    """

    temperature: Temperature = 4.0
    beta: NonNegative = 1.0
    gamma: NonNegative = 1.0

    def __call__(self, view: View) -> Float[Array, ""]:
        soften = lambda z: jax.nn.softmax(z.astype(jnp.float32) / self.temperature)
        student = soften(view.student.logits)
        teacher = soften(view.target(self.temperature))
        return self.temperature**2 * (
            self.beta * inter_class(student, teacher) + self.gamma * intra_class(student, teacher)
        )
