"""Flow of the solution procedure (FSP): how a stage's channels relate to the next stage's."""

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
    """Flow matrix: mean over places of the product of each channel of one map with each of another.

    The larger map is pooled to the size of the smaller.

    Yim, Joo, Bae, Kim. A Gift from Knowledge Distillation. CVPR 2017.
    https://openaccess.thecvf.com/content_cvpr_2017/html/Yim_A_Gift_From_CVPR_2017_paper.html, Eq.
    1, whose order of axes it keeps (the matrix of the public code is the transpose).
    """
    bottom, top = same_size(bottom, top)
    return einsum("bhwc,bhwd->bcd", bottom, top) / (bottom.shape[1] * bottom.shape[2])


def flow_mse(student_pair: Pair, teacher_pair: Pair) -> Float[Array, ""]:
    """Mean of (flow of the student - flow of the teacher)^2.

    Yim et al. 2017, Eq. 2, with the mean over the matrix.

    Args:
      student_pair: (bottom, top) of the student.
      teacher_pair: (bottom, top) of the teacher, with as many channels; sizes may differ.

    Raises:
      InputError: the channels differ.
    """
    student, teacher = flow(*student_pair), flow(*teacher_pair)
    if student.shape[1:] != teacher.shape[1:]:
        raise InputError(
            f"FSP needs equal channels: the student's two maps have {student.shape[1:]}, the "
            f"teacher's {teacher.shape[1:]}. Choose a pair of networks of the same widths, or name "
            "the stages where they agree in `features`."
        )
    return jnp.mean((student - teacher) ** 2)


class FSP(nn.Module):
    """Sum of `flow_mse` over neighbouring features: the first of two runs.

    The first run trains the student with this objective alone, at a constant learning rate (30
    epochs in the tables). The second starts from its student (`config.init`) and has cross entropy
    alone. The head learns nothing in the first run.

    Attributes:
      features: pairs of maps, the shallowest first; None: `stem` and all stages of both networks.
    """

    features: Sequence[Name] | None = None

    def __call__(self, view: View) -> Float[Array, ""]:
        if self.features is None:
            pairs = maps(view, ["stem"]) + maps(view)
        else:
            pairs = maps(view, self.features)
        if len(pairs) < 2:
            raise InputError(
                f"FSP compares neighbouring features: {len(pairs)} given, two or more needed in "
                "`features`."
            )
        if any(student.shape[-1] != teacher.shape[-1] for student, teacher in pairs):
            widths = " and ".join(
                str(tuple(pair[side].shape[-1] for pair in pairs)) for side in (0, 1)
            )
            raise mismatch(
                view,
                "FSP needs equal channels at each place: the student's and the teacher's are "
                f"{widths}",
            )
        return total(
            flow_mse((low[0], high[0]), (low[1], high[1])) for low, high in pairwise(pairs)
        )
