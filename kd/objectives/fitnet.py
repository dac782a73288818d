"""FitNets: the student regresses a hint, the map of a stage of the teacher."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Name, as_map, pair, regressed
from kd.types import View


def hint(student: Float[Array, "b ..."], teacher: Float[Array, "b ..."]) -> Float[Array, " b"]:
    """Mean of (student - teacher)^2 over all axes but the batch, [b].

    Romero et al. FitNets: Hints for Thin Deep Nets. ICLR 2015. https://arxiv.org/abs/1412.6550,
    Eq. 3, with the mean in place of half the sum, as in the public code.

        >>> hint(jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[3.0, 5.0], [0.0, 2.0]]))
        Array([6.5, 2. ], dtype=float32)
    """
    difference = student.astype(jnp.float32) - teacher.astype(jnp.float32)
    return jnp.mean(difference**2, axis=tuple(range(1, difference.ndim)))


class FitNet(nn.Module):
    """`hint` through a regressor (convolution, BatchNorm, ReLU) that is trained with the student.

    The tables ran it in one run, like this. The paper trains the student up to the hint first and
    then distils. That takes two runs: this objective alone, then `kd.KD`, which starts from the
    first run's student (`config.init`).

    Attributes:
      feature: pair of maps.
      relu: whether the regressor ends in ReLU; False for maps that may be negative.
    """

    feature: Name = "stage2"
    relu: bool = True

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        student, teacher = map(as_map, pair(view, self.feature))
        return hint(regressed(view, student, teacher, "regressor", self.relu), teacher)
