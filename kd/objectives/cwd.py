"""Channel-wise distillation (CWD): each channel, as a distribution over places, matches."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Conv, Name, as_map, last, mismatch
from kd.ranges import Temperature
from kd.types import View


def channel_kl(
    student: Float[Array, "b h w d"], teacher: Float[Array, "b h w d"], temperature: float
) -> Float[Array, " b"]:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)) over places, mean over channels, [b].

    Shu, Liu, Gao, Yan, Shen. Channel-Wise Knowledge Distillation for Dense Prediction. ICCV 2021.
    https://arxiv.org/abs/2011.13256, phi and the asymmetric divergence.
    """
    log = lambda x: jax.nn.log_softmax(
        x.reshape(x.shape[0], -1, x.shape[-1]).astype(jnp.float32) / temperature, axis=1
    )
    log_p, log_q = log(student), log(teacher)
    kl = jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=1)
    return temperature**2 * jnp.mean(kl, axis=-1)


class CWD(nn.Module):
    """`channel_kl` of one pair of maps of equal size.

    The student's map passes a 1 x 1 convolution where widths differ.

    Attributes:
      feature: pair of maps; None: the last stage of each network.
      temperature: T.
    """

    feature: Name | None = None
    temperature: Temperature = 4.0

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        student, teacher = map(as_map, last(view, self.feature))
        places = student.shape[1] * student.shape[2]
        if places == 1 or student.shape[1:3] != teacher.shape[1:3]:
            raise mismatch(
                view,
                "CWD needs two maps of the same size, of two places or more: "
                f"the student's is {student.shape[1:3]}, the teacher's {teacher.shape[1:3]}",
            )
        if student.shape[-1] != teacher.shape[-1]:
            student = Conv(teacher.shape[-1], (1, 1), name="align")(student)
        return channel_kl(student, teacher, self.temperature)
