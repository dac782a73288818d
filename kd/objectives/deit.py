"""DeiT's objective: labels for the class token, the teacher for the distillation token."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd import labels
from kd.errors import InputError, unknown
from kd.objectives.ce import cross_entropy
from kd.objectives.kd import distill_kl
from kd.ranges import Fraction, Probability, Temperature
from kd.types import View

HARD, SOFT = "hard", "soft"

FEATURE = "distillation_logits"
"""What the student's second head gives."""


def mean_kl(
    student: Float[Array, "*m b c"], teacher: Float[Array, "*m b c"], temperature: float = 1.0
) -> Float[Array, "*m b"]:
    """T^2 / c KL(softmax(teacher / T) || softmax(student / T)), in nats: the mean over c classes.

    Touvron et al. Training data-efficient image transformers & distillation through attention. ICML
    2021. https://arxiv.org/abs/2012.12877, Eq. 2, as in the public code, which divides the sum by
    the number of logits: `kd.losses.distill_kl` divided by c.

        >>> teacher = jnp.array([[5.0, 2.0, 0.0]])
        >>> mean_kl(jnp.array([[4.0, 0.0, 3.0]]), teacher, temperature=4.0)  # 1.656 / 3
        Array([0.552], dtype=float32)
    """
    return distill_kl(student, teacher, temperature) / student.shape[-1]


class DeiT(nn.Module):
    """(1 - alpha) CE(logits, label) + alpha L(distillation logits, teacher).

    Touvron et al. Training data-efficient image transformers & distillation through attention. ICML
    2021. https://arxiv.org/abs/2012.12877, Eq. 2 and 3, for a student with a distillation token,
    whose feature `distillation_logits` [b, c] its second head gives, such as `kd.models.DeiT`. L is
    the cross entropy with the class that the teacher predicts (`hard`), or `mean_kl` (`soft`). Of
    mixed images (`config.mix`) the labels are mixed; the teacher sees what the student sees.

    Students without such a token learn the same from `kd.HardLabel` or `kd.KD` beside `ce.CE`.

    Attributes:
      kind: "hard" (the paper's best) or "soft".
      alpha: weight of the teacher; 1: the labels are not read, and images may have none.
      temperature: T of the soft kind.
      smoothing: of the labels, 0.1 in the paper.

    Raises:
      InputError: the student has no distillation logits.
    """

    kind: str = HARD
    alpha: Fraction = 0.5
    temperature: Temperature = 1.0
    smoothing: Probability = 0.1

    mixes = True

    @property
    def needs(self) -> tuple[str, ...]:
        """What it reads of a run, see `kd.objective`."""
        return ("batch.label",) if self.alpha < 1 else ()

    def __call__(self, view: View) -> Float[Array, "*m b"]:
        if self.kind not in (HARD, SOFT):
            raise unknown("value of kind in deit.DeiT", self.kind, (HARD, SOFT))
        if FEATURE not in view.student.features:
            raise InputError(
                f"deit.DeiT: the student has no {FEATURE!r}: it needs a network with a "
                "distillation token, such as vit.DeiT. Others learn the same from ce.CE with "
                "kd.HardLabel (hard) or kd.KD (soft)."
            )
        distilled = view.student.feature(FEATURE)
        if self.kind == SOFT:
            loss = mean_kl(distilled, view.target(self.temperature), self.temperature)
        else:
            loss = cross_entropy(distilled, jnp.argmax(view.target(1.0), axis=-1))
        if self.alpha == 1:
            return loss
        of_label = lambda label: cross_entropy(view.student.logits, label, self.smoothing)
        return (1 - self.alpha) * labels.of_labels(of_label, view.batch) + self.alpha * loss
