"""Flow of the solution procedure: how one stage's channels go with the next one's."""

from collections.abc import Sequence
from itertools import pairwise

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import Name, einsum, maps, mismatch, same_size, total
from kd.types import View

type Pair = Sequence[Float[Array, "b _ _ _"]]
"""(bottom, top), two maps of one network."""


def flow(bottom: Float[Array, "b h w c"], top: Float[Array, "b h2 w2 d"]) -> Float[Array, "b c d"]:
    """Mean over places of the product of each channel of one map with each of another; the larger
    map is pooled to the smaller.

    Yim, Joo, Bae, Kim. A Gift from Knowledge Distillation. CVPR 2017.
    https://openaccess.thecvf.com/content_cvpr_2017/html/Yim_A_Gift_From_CVPR_2017_paper.html, Eq.
    1, whose order of axes it keeps (the public code's matrix is the transpose).
    """
    bottom, top = same_size(bottom, top)
    return einsum("bhwc,bhwd->bcd", bottom, top) / (bottom.shape[1] * bottom.shape[2])


def flow_mse(student_pair: Pair, teacher_pair: Pair) -> Float[Array, ""]:
    """Mean of (flow of the student - flow of the teacher)^2. Yim et al. 2017, Eq. 2, with the mean
    over the matrix.

    Args:
      student_pair: (bottom, top) of the student.
      teacher_pair: (bottom, top) of the teacher, with as many channels; sizes may differ.
    """
    ours, theirs = flow(*student_pair), flow(*teacher_pair)
    if ours.shape[1:] != theirs.shape[1:]:
        raise InputError(
            f"FSP needs equal channels: the student's two maps have {ours.shape[1:]}, the "
            f"teacher's {theirs.shape[1:]}. Choose a pair of networks of the same widths, or name "
            "the stages where they agree in `features`."
        )
    return jnp.mean((ours - theirs) ** 2)


class FSP(nn.Module):
    """Sum of `flow_mse` over neighbouring features: the first of two runs.

    The first run trains the student with this objective alone, at a constant learning rate (30
    epochs in the tables); the second starts from its student (`config.init`) with cross entropy
    alone. The head learns nothing in the first run.

    Attributes:
      features: pairs of maps in the order of depth; `stem` and all stages of both where it is None.
    """

    features: Sequence[Name] | None = None

    def __call__(self, view: View) -> Float[Array, ""]:
        if self.features is None:
            found = maps(view, ["stem"]) + maps(view)
        else:
            found = maps(view, self.features)
        if len(found) < 2:
            raise InputError(
                f"FSP compares neighbouring features: {len(found)} given, two or more needed in "
                "`features`."
            )
        if any(ours.shape[-1] != theirs.shape[-1] for ours, theirs in found):
            widths = " and ".join(
                str(tuple(both[side].shape[-1] for both in found)) for side in (0, 1)
            )
            raise mismatch(
                view,
                "FSP needs equal channels at each place: the student's and the teacher's are "
                f"{widths}",
            )
        return total(
            flow_mse((low[0], high[0]), (low[1], high[1])) for low, high in pairwise(found)
        )
