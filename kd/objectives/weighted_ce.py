"""Weighted cross entropy: classes count differently, for data in which some are rare."""

from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd import labels
from kd.objectives.ce import cross_entropy
from kd.ranges import Probability
from kd.types import View


def weighted_cross_entropy(
    logits: Float[Array, "*m b c"],
    label: Int[Array, " b"],
    weights: Float[Array, " c"] | Sequence[float],
    smoothing: float = 0.0,
) -> Float[Array, "*m b"]:
    """weights[label] times `cross_entropy`, in nats.

    The mean over a batch divides by the number of examples, not by the sum of their weights, so
    that an image counts alike in every batch. (PyTorch's `CrossEntropyLoss(weight)` divides by
    that sum.) With label smoothing, the weight is that of the label.

        >>> logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]))
        >>> weighted_cross_entropy(logits, jnp.array([0, 2]), (1.0, 1.0, 3.0))  # log 2, 3 log 4
        Array([0.693, 4.159], dtype=float32)
    """
    loss = cross_entropy(logits, label, smoothing)
    return jnp.broadcast_to(jnp.asarray(weights, jnp.float32)[label], loss.shape) * loss


class WeightedCE(nn.Module):
    """`weighted_cross_entropy` of the student's logits with the labels.

    It weighs this term alone. Distillation terms beside it, such as `kd.KD`, learn the teacher's
    answer on each image alike, whatever its class: a teacher that neglects a rare class teaches
    that, so weigh its training, too. Images whose label is unknown (-1) have no weight and are left
    out, as with `ce.CE`; "balanced" counts the labelled images. Of mixed images (`config.mix`) each
    of the two labels counts by its share and its weight.

    Attributes:
      class_weights: "balanced" (which None is, too), n / (c n_k) for a class with n_k of the n
        labelled training images (c classes); one number for each class; or {class: number} by name
        or number, with 1 for the classes that it leaves out.
      smoothing: share of the target that is spread evenly over all classes.
    """

    class_weights: labels.ClassWeights = None
    smoothing: Probability = 0.0

    needs = ("batch.label",)
    mixes = True
    default_weights: ClassVar[str] = "balanced"

    def __call__(self, view: View) -> Float[Array, "*m b"]:
        logits = view.student.logits
        weights = "balanced" if self.class_weights is None else self.class_weights
        weights = labels.class_weights(weights, logits.shape[-1])
        loss = lambda label: weighted_cross_entropy(logits, label, weights, self.smoothing)
        return labels.of_labels(loss, view.batch)
