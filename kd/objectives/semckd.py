"""Semantic calibration: each stage of the student learns from all of the teacher's, as much as
their similarities are alike.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import BatchNorm, Conv, Dense, einsum, flat, maps, same_size, unit
from kd.objectives.fitnet import hint
from kd.types import View


def cross_layer(
    distance: Float[Array, "b i j"], weight: Float[Array, "b i j"]
) -> Float[Array, " b"]:
    """sum_ij weight distance / (number of the student's stages).

    Chen et al. Cross-Layer Distillation with Semantic Calibration. AAAI 2021.
    https://arxiv.org/abs/2012.03236, L_SemCKD, with the mean over i as in the authors' code.

    Args:
      distance: mean squared error of the student's stage i from the teacher's stage j.
      weight: of that pair, for each example; sums to one over j.
    """
    return jnp.sum(weight * distance, axis=(1, 2)) / distance.shape[1]


class SemCKD(nn.Module):
    """`cross_layer` of all pairs of stages, whose weights are attention between rows of the stages'
    similarity matrices.

    A query (student) or key (teacher) is a small network of a row of similarities within the batch,
    so its shape depends on the batch size: a batch of another size than the first is refused (the
    authors skip it). It sees the global batch.

    Attributes:
      features: stages of both sides, which need not be as many as they are not paired: (student's
        names, teacher's names). None: all stages, which both must then have alike.
      softness: divides the attention's energy.
    """

    features: Sequence[Sequence[str]] | None = None
    softness: float = 1.0

    one_size = True  # see `kd.build.check_batches`

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        if self.features is None:
            found = maps(view)
            students, teachers = [s for s, _ in found], [t for _, t in found]
        else:
            ours, theirs = self.features
            students = [maps(view, [(name, theirs[0])])[0][0] for name in ours]
            teachers = [maps(view, [(ours[0], name)])[0][1] for name in theirs]
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
        """Mean squared error after three convolutions with BatchNorm, the larger map pooled to the
        smaller.
        """
        x, teacher = same_size(student, teacher)
        width = teacher.shape[-1]
        for i, (out, kernel) in enumerate([(2, (1, 1)), (2, (3, 3))], start=1):
            conv = Conv(out * width, kernel, use_bias=False, name=f"conv{i}_{name}")
            x = nn.relu(BatchNorm(name=f"norm{i}_{name}")(conv(x)))
        return hint(Conv(width, (1, 1), use_bias=False, name=f"conv3_{name}")(x), teacher)
