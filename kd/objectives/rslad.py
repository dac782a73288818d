"""Robust soft label adversarial distillation (RSLAD): soft labels in the attack and the loss."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from kd.features import require
from kd.objectives.kd import distill_kl
from kd.ranges import Count, Temperature
from kd.robustness import attack, ball
from kd.robustness.ball import Radius
from kd.types import View


class RSLAD(nn.Module):
    """T^2 KL(teacher at T, at the image || student at T, at the attacked image), in nats.

    Unlike `ARD` the attack climbs this divergence, from near the image, and no label is read. The
    divergence at the images themselves is a term of its own, `kd.KD`: with T = 1, weight 5/6 here
    and 1/6 there it is the paper's loss.

    Zi, Zhao, Ma, Jiang. Revisiting Adversarial Robustness Distillation: Robust Soft Labels Make
    Student Better. ICCV 2021. https://arxiv.org/abs/2108.07969, Eq. 6 and 7. The public code takes
    the mean over the classes in place of the sum, a factor of 1 / c. The attack is in evaluation
    mode and the loss in training mode, as there; the statistics of the attacked images are not
    kept.

    Attributes:
      temperature: T.
      radius, step, steps: of the attack, see `ARD`.
    """

    temperature: Temperature = 1.0
    radius: Radius = 8.0
    step: Radius = 2.0
    steps: Count = 10

    needs: ClassVar[tuple[str, ...]] = ball.NEEDS

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        require(view, *self.needs)
        target = view.target(self.temperature)
        image = attack.perturbed(
            view,
            lambda logits: distill_kl(logits, target, self.temperature),
            self.make_rng("objective"),
            self.radius,
            self.step,
            self.steps,
            attack.NEAR,
        )
        student = view.student_fn(image, train=True).logits
        return distill_kl(student, target, self.temperature)
