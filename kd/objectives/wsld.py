"""Weighted soft labels (WSLD): less distillation where the student fits the label better."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd.objectives.ce import cross_entropy
from kd.ranges import Temperature
from kd.types import View


def weighted_soft_label(
    student: Float[Array, "b c"],
    teacher: Float[Array, "b c"],
    label: Int[Array, " b"],
    temperature: float,
    softened: Float[Array, "b c"] | None = None,
) -> Float[Array, " b"]:
    """w T^2 times the cross entropy of softmax(student / T) with softmax(teacher / T), in nats.

    w = 1 - exp(-CE(student) / (CE(teacher) + 1e-7)), without gradient. CE is the cross entropy with
    the label at T = 1.

    Zhou et al. Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff
    Perspective. ICLR 2021. https://arxiv.org/abs/2102.00650, L_WSL; 1e-7 and T^2 as in the authors'
    code.

    Args:
      student: logits.
      teacher: logits.
      label: class of each example.
      temperature: T.
      softened: the teacher's logits that are divided by T, where they differ from `teacher`: the
        mean probabilities of an ensemble depend on T.
    """
    log_p = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
    softened = teacher if softened is None else softened
    q = jax.nn.softmax(softened.astype(jnp.float32) / temperature)
    ratio = cross_entropy(student, label) / (cross_entropy(teacher, label) + 1e-7)
    weight = jax.lax.stop_gradient(-jnp.expm1(-ratio))
    return weight * temperature**2 * -jnp.sum(q * log_p, axis=-1)


class WSLD(nn.Module):
    """`weighted_soft_label`.

    Attributes:
      temperature: T.
    """

    temperature: Temperature = 4.0

    needs = ("batch.label",)

    def __call__(self, view: View) -> Float[Array, " b"]:
        return weighted_soft_label(
            view.student.logits,
            view.target(1.0),
            view.batch["label"],
            self.temperature,
            view.target(self.temperature),
        )
