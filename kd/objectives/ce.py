"""Cross entropy with the labels: what a student learns from without a teacher."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd.types import View


def cross_entropy(
    logits: Float[Array, "*m b c"], label: Int[Array, " b"], smoothing: float = 0.0
) -> Float[Array, "*m b"]:
    """-sum_c q_c log softmax(logits)_c with q = (1 - smoothing) onehot(label) + smoothing / c, in
    nats.

    Smoothing: Szegedy et al. Rethinking the Inception Architecture. CVPR 2016.
    https://arxiv.org/abs/1512.00567, section 7.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    label = jnp.broadcast_to(label, logits.shape[:-1])[..., None]
    hard = jnp.take_along_axis(log_p, label, axis=-1)[..., 0]
    return -(1 - smoothing) * hard - smoothing * jnp.mean(log_p, axis=-1)


class CE(nn.Module):
    """Cross entropy of the student with the labels."""

    smoothing: float = 0.0

    def __call__(self, view: View) -> Float[Array, "*m b"]:
        return cross_entropy(view.student.logits, view.batch["label"], self.smoothing)
