"""Focal loss: cross entropy in which examples that are right already count less."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd import labels
from kd.ranges import NonNegative
from kd.types import View


def focal_loss(
    logits: Float[Array, "*m b c"],
    label: Int[Array, " b"],
    gamma: float = 2.0,
    weights: Float[Array, " c"] | Sequence[float] | None = None,
) -> Float[Array, "*m b"]:
    """-weights[label] (1 - p)^gamma log p, p = softmax(logits)[label], in nats.

    Lin, Goyal, Girshick, He, Dollar. Focal Loss for Dense Object Detection. ICCV 2017.
    https://arxiv.org/abs/1708.02002, Eq. 5, there for two classes by a sigmoid, here for c by a
    softmax; `weights` are the paper's alpha. gamma = 0 is cross entropy.

    Where p is 1 in float32 the loss and its gradient are 0, as in the limit.

        >>> logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.9, 0.05, 0.05]]))
        >>> focal_loss(logits, jnp.array([0, 0]))  # log 2 / 4, -log 0.9 / 100
        Array([0.173, 0.001], dtype=float32)
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    index = jnp.broadcast_to(label, logits.shape[:-1])[..., None]
    log_p = jnp.take_along_axis(log_p, index, axis=-1)[..., 0]
    wrong = -jnp.expm1(log_p)  # 1 - p
    # A power of 0 has an infinite gradient for gamma < 1: the branch that is taken has none.
    factor = jnp.where(wrong > 0, jnp.where(wrong > 0, wrong, 1.0) ** gamma, 0.0**gamma)
    loss = -factor * log_p
    if weights is None:
        return loss
    return jnp.broadcast_to(jnp.asarray(weights, jnp.float32)[label], loss.shape) * loss


class Focal(nn.Module):
    """`focal_loss` of the student's logits with the labels.

    It is a term of the labels, and changes none beside it: distillation terms learn the teacher's
    answer on each image alike. Images whose label is unknown (-1) are left out, as with `ce.CE`. Of
    mixed images (`config.mix`) it is the mean of the losses with the two labels, by their shares.

    Attributes:
      gamma: how much less easy examples count; 2 in the paper.
      class_weights: as in `kd.objectives.WeightedCE`; None: all classes count alike.
    """

    gamma: NonNegative = 2.0
    class_weights: labels.ClassWeights = None

    needs = ("batch.label",)
    mixes = True

    def __call__(self, view: View) -> Float[Array, "*m b"]:
        logits, weights = view.student.logits, self.class_weights
        if weights is not None:
            weights = labels.class_weights(weights, logits.shape[-1])
        loss = lambda label: focal_loss(logits, label, self.gamma, weights)
        return labels.of_labels(loss, view.batch)
