"""Adversarially robust distillation (ARD): the teacher's answer, under attack too."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from kd.features import require
from kd.objectives.kd import distill_kl
from kd.ranges import Count, Temperature
from kd.robustness import attack, ball
from kd.robustness.ball import Radius
from kd.types import View


class ARD(nn.Module):
    """T^2 KL(teacher at T, at the image || student at T, at the attacked image), in nats.

    The attack climbs the student's cross entropy with the label, from a place in the ball that is
    drawn for each update, `steps` steps along the sign of the gradient. The teacher should be
    robust itself. Cross entropy at the images themselves is a term of its own, with weight 1 -
    alpha in the paper's Eq. 4 for a weight alpha of this one.

    Goldblum, Fowl, Feizi, Goldstein. Adversarially Robust Distillation. AAAI 2020.
    https://arxiv.org/abs/1905.09747. The public code takes the mean over the classes in place of
    the sum, a factor of 1 / c, and attacks in training mode, where this attacks the network in
    evaluation mode; the loss is in training mode, with the BatchNorm statistics of the attacked
    images, which are not kept.

    Attributes:
      temperature: T.
      radius: of the L-infinity ball; levels of 8-bit pixels within black and white, of raw floats
        standard deviations of the data.
      step: length of a step, in the same unit.
      steps: of the attack.
    """

    temperature: Temperature = 30.0
    radius: Radius = 8.0
    step: Radius = 2.0
    steps: Count = 10

    needs: ClassVar[tuple[str, ...]] = (*ball.NEEDS, "batch.label")

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        require(view, *self.needs)
        target = view.target(self.temperature)
        key = self.make_rng("objective")
        image = attack.against_labels(view, key, self.radius, self.step, self.steps)
        student = view.student_fn(image, train=True).logits
        return distill_kl(student, target, self.temperature)
