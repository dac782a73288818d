"""Deep mutual learning (DML): peers learn together, each from the others' outputs."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.objectives.kd import distill_kl
from kd.ranges import Temperature
from kd.types import View


def mutual_kl(logits: Float[Array, "k b c"], temperature: float = 1.0) -> Float[Array, "k b"]:
    """T^2 / (k - 1) sum_{j != i} KL(softmax(z_j / T) || softmax(z_i / T)) for each peer i.

    No gradient goes to the others.

    Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. CVPR 2018. https://arxiv.org/abs/1706.00384,
    Eq. 7 and 8, with T = 1.
    """
    pairs = distill_kl(logits[:, None], jax.lax.stop_gradient(logits)[None], temperature)
    return jnp.sum(pairs, axis=1) / (len(logits) - 1)  # KL(z_i || z_i) is zero


class Mutual(nn.Module):
    """`mutual_kl` of a cohort's logits. With cross entropy of weight 1 it is the paper's loss.

    All peers are updated at once, where Algorithm 1 has them take turns: for turns, set `alternate`
    in `config.student`.

    Attributes:
      temperature: T.
    """

    temperature: Temperature = 1.0

    def __call__(self, view: View) -> Float[Array, "k b"]:
        logits = view.student.logits
        if not view.student.peers:
            raise InputError(
                "mutual learning needs several students: name a cohort in config.student, such as "
                "dict(name='cohort.Cohort', member=dict(name='cnn.CNN'), size=2)."
            )
        return mutual_kl(logits, self.temperature)
