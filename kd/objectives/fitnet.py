"""FitNets: the student regresses a hint, the map of a stage of the teacher."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Name, as_map, pair, regressed
from kd.types import View


def hint(student: Float[Array, "b ..."], teacher: Float[Array, "b ..."]) -> Float[Array, " b"]:
    """Mean of (student - teacher)^2 over all but the batch.

    Romero et al. FitNets: Hints for Thin Deep Nets. ICLR 2015. https://arxiv.org/abs/1412.6550, Eq.
    3, with the mean in place of half the sum, as in the public code.
    """
    difference = student.astype(jnp.float32) - teacher.astype(jnp.float32)
    return jnp.mean(difference**2, axis=tuple(range(1, difference.ndim)))


class FitNet(nn.Module):
    """`hint` through a regressor (convolution, BatchNorm, ReLU) that is trained with the student,
    in one run.

    So the tables ran it. The paper trains the student up to the hint first and then distils: that
    is two runs, this objective alone and then `kd.KD`, the second starting from the first's student
    (`config.init`).
    """

    feature: Name = "stage2"

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        student, teacher = map(as_map, pair(view, self.feature))
        return hint(regressed(view, student, teacher, "regressor"), teacher)
