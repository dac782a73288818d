"""Introspective adversarial distillation (IAD): trust in the teacher where it is robust itself."""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd.errors import InputError
from kd.features import require
from kd.objectives.ce import cross_entropy
from kd.objectives.kd import distill_kl
from kd.ranges import Count, NonNegative, Temperature
from kd.robustness import attack, ball
from kd.robustness.ball import Radius
from kd.types import View


def trust(
    teacher: Float[Array, "b c"], label: Int[Array, " b"], exponent: float
) -> Float[Array, " b"]:
    """The teacher's probability of the label, to the power of `exponent`, [b].

    Zhu et al. Reliable Adversarial Distillation with Unreliable Teachers. ICLR 2022.
    https://arxiv.org/abs/2106.04928, alpha of IAD.

        >>> trust(jnp.log(jnp.array([[0.25, 0.75]])), jnp.array([0]), exponent=0.5)
        Array([0.5], dtype=float32)
    """
    return jnp.exp(-exponent * cross_entropy(teacher, label))


class IAD(nn.Module):
    """T^2 KL(teacher at x || student at x') + (1 - a) KL(student at x || student at x'), in nats.

    x' is the attacked image, as in `ARD`; the first divergence is at temperature T, the second at
    1. a is the `trust` in the teacher, of its answer at x', so that the teacher must be a network,
    not stored logits. Until epoch `begin` a is 1.

    Zhu, Yao, Han, Zhang, Liu, Niu, Zhou, Xu, Yang. Reliable Adversarial Distillation with
    Unreliable Teachers. ICLR 2022. https://arxiv.org/abs/2106.04928, as the public code of IAD-I
    computes it; a has no gradient, the student at x has. The attack is in evaluation mode, in the
    public code in training mode.

    Attributes:
      temperature: T.
      exponent: beta, of the trust.
      begin: epochs of full trust.
      radius, step, steps: of the attack, see `ARD`.
    """

    temperature: Temperature = 1.0
    exponent: NonNegative = 0.1
    begin: NonNegative = 60.0
    radius: Radius = 8.0
    step: Radius = 2.0
    steps: Count = 10

    needs: ClassVar[tuple[str, ...]] = (*ball.NEEDS, "batch.label", "teacher_fn")

    @property
    def least_epochs(self) -> int:
        """Epochs until one is trained with the trust."""
        return math.floor(self.begin) + 1

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        target = view.target(self.temperature)
        require(view, *ball.NEEDS, "batch.label")
        if view.teacher_fn is None:
            raise InputError(
                "iad.IAD asks the teacher about attacked images, so that it must be a network, or "
                "an ensemble that is averaged: leave out config.teacher.cache and stored logits, "
                "and config.teacher.reduce = 'each'."
            )
        label = view.batch["label"]
        key = self.make_rng("objective")
        image = attack.against_labels(view, key, self.radius, self.step, self.steps)
        student = view.student_fn(image, train=True).logits
        alpha = trust(view.teacher_fn(image).at(1.0), label, self.exponent)
        alpha = jnp.where(view.epoch < self.begin, 1.0, jax.lax.stop_gradient(alpha))
        by_itself = distill_kl(student, view.student.logits, 1.0)
        return distill_kl(student, target, self.temperature) + (1 - alpha) * by_itself
