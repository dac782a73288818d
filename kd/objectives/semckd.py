"""Semantic calibration (SemCKD): each stage learns from all stages of the teacher."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import BatchNorm, Conv, Dense, einsum, flat, maps, same_size, unit
from kd.objectives.fitnet import hint
from kd.ranges import Temperature
from kd.types import View


def cross_layer(
    distance: Float[Array, "b i j"], weight: Float[Array, "b i j"]
) -> Float[Array, " b"]:
    """sum_ij weight distance / (number of the student's stages), [b].

    Chen et al. Cross-Layer Distillation with Semantic Calibration. AAAI 2021.
    https://arxiv.org/abs/2012.03236, L_SemCKD, with the mean over i as in the authors' code.

    Args:
      distance: mean squared error between the student's stage i and the teacher's stage j.
      weight: of that pair, for each example; its sum over j is one.
    """
    return jnp.sum(weight * distance, axis=(1, 2)) / distance.shape[1]


class SemCKD(nn.Module):
    """`cross_layer` of all pairs of stages, weighted by attention.

    The attention is between rows of the stages' similarity matrices. A query (student) or key
    (teacher) is a small network of a row of similarities within the batch, so its shape depends on
    the batch size: a batch of another size than the first is refused (the authors skip it). It sees
    the global batch.

    Attributes:
      features: (student's names, teacher's names), which are not paired and can differ in number.
        None: all stages, which both networks must then have alike.
      softness: divides the attention's energy.
    """

    features: Sequence[Sequence[str]] | None = None
    softness: Temperature = 1.0

    one_size = True  # see `kd.objective`

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        if self.features is None:
            pairs = maps(view)
            students, teachers = [s for s, _ in pairs], [t for _, t in pairs]
        else:
            student_names, teacher_names = self.features
            students = [maps(view, [(name, teacher_names[0])])[0][0] for name in student_names]
            teachers = [maps(view, [(student_names[0], name)])[0][1] for name in teacher_names]
        query = [self._embed(f"query{i}", x) for i, x in enumerate(students, 1)]
        key = [self._embed(f"key{j}", x) for j, x in enumerate(teachers, 1)]
        energy = einsum("ibd,jbd->bij", jnp.stack(query), jnp.stack(key))
        distance = [
            [self._distance(f"{i}_{j}", s, t) for j, t in enumerate(teachers, 1)]
            for i, s in enumerate(students, 1)
        ]
        return cross_layer(
            jnp.moveaxis(jnp.array(distance), -1, 0), jax.nn.softmax(energy / self.softness)
        )

    def _embed(self, name: str, x: Float[Array, "b h w d"]) -> Float[Array, "b e"]:
        """Unit vectors from rows of similarities; hidden width half the batch, output a quarter."""
        rows = einsum("id,jd->ij", flat(x), flat(x))
        width = max(len(rows) // 4, 1)
        if self.has_variable("params", f"{name}_hidden"):
            first = self.get_variable("params", f"{name}_hidden")["kernel"].shape[0]
            if first != len(rows):
                raise InputError(
                    f"SemCKD was built for batches of {first} and cannot take one of {len(rows)}: "
                    "drop the last, smaller batch of an epoch."
                )
        hidden = nn.relu(Dense(2 * width, name=f"{name}_hidden")(rows))
        return unit(Dense(width, name=f"{name}_out")(hidden))

    def _distance(
        self, name: str, student: Float[Array, "b h w d"], teacher: Array
    ) -> Float[Array, " b"]:
        """Mean squared error after three convolutions, at the size of the smaller map."""
        x, teacher = same_size(student, teacher)
        width = teacher.shape[-1]
        for i, (out, kernel) in enumerate([(2, (1, 1)), (2, (3, 3))], start=1):
            conv = Conv(out * width, kernel, use_bias=False, name=f"conv{i}_{name}")
            x = nn.relu(BatchNorm(name=f"norm{i}_{name}")(conv(x)))
        return hint(Conv(width, (1, 1), use_bias=False, name=f"conv3_{name}")(x), teacher)
