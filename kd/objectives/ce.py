"""Cross entropy (CE) with the labels: what a student learns from without a teacher."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd import labels
from kd.ranges import Probability
from kd.types import View


def cross_entropy(
    logits: Float[Array, "*m b c"], label: Int[Array, " b"], smoothing: float = 0.0
) -> Float[Array, "*m b"]:
    """-sum_c q_c log softmax(logits)_c, q = (1 - smoothing) onehot(label) + smoothing / c, in nats.

    Label smoothing: Szegedy et al. Rethinking the Inception Architecture. CVPR 2016.
    https://arxiv.org/abs/1512.00567, section 7.

        >>> cross_entropy(jnp.log(jnp.array([[0.5, 0.25, 0.25]])), jnp.array([0]))  # log 2
        Array([0.693], dtype=float32)
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    label = jnp.broadcast_to(label, logits.shape[:-1])[..., None]
    hard = jnp.take_along_axis(log_p, label, axis=-1)[..., 0]
    return -(1 - smoothing) * hard - smoothing * jnp.mean(log_p, axis=-1)


class CE(nn.Module):
    """`cross_entropy` of the student's logits with the labels; with both labels of mixed images
    (`config.mix`), each by its share.

    Attributes:
      smoothing: share of the target that is spread evenly over all classes.
    """

    smoothing: Probability = 0.0

    needs = ("batch.label",)
    mixes = True

    def __call__(self, view: View) -> Float[Array, "*m b"]:
        loss = lambda label: cross_entropy(view.student.logits, label, self.smoothing)
        return labels.of_labels(loss, view.batch)
