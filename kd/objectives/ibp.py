"""Interval bound propagation (IBP, CROWN-IBP): a student whose answers can be proved to hold."""

import math
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd.errors import unknown
from kd.features import require
from kd.objectives.ce import cross_entropy
from kd.ranges import Fraction, Range
from kd.robustness import ball
from kd.robustness.ball import Radius
from kd.robustness.bounds import Bounds, Interval
from kd.types import View, outputs_of

LABEL, TEACHER = "label", "teacher"


def worst_logits(margin: Float[Array, "b c"], label: Int[Array, " b"]) -> Float[Array, "b c"]:
    """Logits of the worst case: minus the lower bound of each margin, and 0 for the label itself.

    Gowal et al. On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust
    Models. 2018. https://arxiv.org/abs/1810.12715, Eq. 10, up to a constant for all classes.

        >>> worst_logits(jnp.array([[0.0, 2.0, -1.0]]), jnp.array([0]))
        Array([[ 0., -2.,  1.]], dtype=float32)

    Args:
      margin: lower bounds of the label's logit minus each logit.
      label: of each example.
    """
    return jnp.where(jax.nn.one_hot(label, margin.shape[-1], dtype=bool), 0.0, -margin)


def linear_ramp(epoch: float | Float[Array, ""], start: float, epochs: float) -> Float[Array, ""]:
    """From 0 until epoch `start` to 1 after `epochs` more, in a straight line; a step for 0.

    >>> linear_ramp(12.5, start=10, epochs=10)
    Array(0.25, dtype=float32)
    """
    elapsed = jnp.asarray(epoch, jnp.float32) - start
    if not epochs:
        return jnp.where(elapsed < 0, 0.0, 1.0)
    return jnp.clip(elapsed / epochs, 0.0, 1.0)


def progress(view: View) -> Float[Array, ""]:
    """Epochs so far, with their fraction where the view says how many updates an epoch has."""
    if "updates" not in view.tables:
        return view.epoch.astype(jnp.float32)
    return view.step.astype(jnp.float32) / view.tables["updates"]


class IBP(nn.Module):
    """k CE(logits, y) + (1 - k) CE(worst logits in the ball, y), in nats.

    The worst logits are bounds over all images of the L-infinity ball, by intervals through every
    layer, with the last layer joined with the differences of logits. The radius grows in a straight
    line from 0, and k falls with it from 1 to `nominal`. The student is bounded in evaluation mode,
    as it is deployed; BatchNorm then has the statistics of its updates so far.

    Gowal et al. 2018 (see `kd.losses.worst_logits`), Eq. 12; they ramp the radius over a tenth to
    half of the training and take k = 0.5. It is a term beside others, such as `kd.KD`: a
    certificate is of the student alone, whatever it learns from.

    Attributes:
      radius: of the ball, at the end of the ramp; levels of 8-bit pixels within black and white, of
        raw floats standard deviations of the data, as `kd verify --radius`.
      nominal: k at the end of the ramp, the weight of the images themselves.
      start: epochs before the ramp.
      ramp: epochs of the ramp.
      target: what y is, the `label`, or the class that the `teacher` names.
    """

    radius: Radius = 8.0
    nominal: Fraction = 0.5
    start: Annotated[float, Range(0)] = 0.0
    ramp: Annotated[float, Range(0)] = 10.0
    target: str = LABEL

    @property
    def needs(self) -> tuple[str, ...]:
        """What it reads of a run, see `kd.objective`."""
        return (*ball.NEEDS, "batch.label") if self.target == LABEL else ball.NEEDS

    @property
    def least_epochs(self) -> int:
        """Epochs until the ramp ends."""
        return math.ceil(self.start + self.ramp)

    def __call__(self, view: View) -> Float[Array, " b"]:
        if self.target not in (LABEL, TEACHER):
            raise unknown("value of target in ibp.IBP", self.target, (LABEL, TEACHER))
        ball.check(view)
        require(view, *self.needs)
        label = view.batch["label"] if self.target == LABEL else view.target(1.0).argmax(-1)
        grown = linear_ramp(progress(view), self.start, self.ramp)
        margin = self.margins(view, self.radius * grown, label, grown)
        nominal = 1 - (1 - self.nominal) * grown
        worst = cross_entropy(worst_logits(margin, label), label)
        return nominal * cross_entropy(view.student.logits, label) + (1 - nominal) * worst

    def margins(
        self, view: View, radius: Float[Array, ""], label: Int[Array, " b"], grown: Float[Array, ""]
    ) -> Float[Array, "b c"]:
        """Lower bounds of the label's logit minus each logit over the balls.

        Args:
          view: of the batch.
          radius: of the balls.
          label: of each image.
          grown: the part of the ramp that is done, 0 to 1.
        """
        del grown
        return _margins(view, radius, label)[0]


class CROWNIBP(IBP):
    """`IBP` with linear bounds at first: margins b CROWN-IBP + (1 - b) IBP.

    b falls from 1 to `linear` as the radius grows. The linear bounds go back from the logits to the
    image, within the intervals of all layers: tight while the radius is small, where intervals
    alone often keep a student from learning. They take a backward pass per class.

    Zhang, Chen, Xiao, Gowal, Stanforth, Li, Boning, Hsieh. Towards Stable and Efficient Training of
    Verifiably Robust Neural Networks. ICLR 2020. https://arxiv.org/abs/1906.06316, Eq. 11 and its
    schedule, kappa from 1 to 0.5 and beta from 1 to 0 with the radius, as in the public code.

    Attributes:
      linear: b at the end of the ramp.
    """

    linear: Fraction = 0.0

    def margins(
        self, view: View, radius: Float[Array, ""], label: Int[Array, " b"], grown: Float[Array, ""]
    ) -> Float[Array, "b c"]:
        """Lower bounds of the label's logit minus each logit over the balls, see `IBP`."""
        share = 1 - (1 - self.linear) * grown
        by_intervals, linear = _margins(view, radius, label, linear=True)
        return share * linear + (1 - share) * by_intervals


def _margins(
    view: View, radius: Float[Array, ""], label: Int[Array, " b"], linear: bool = False
) -> tuple[Float[Array, "b c"], Float[Array, "b c"]]:
    """Lower bounds of the label's logit minus each: by intervals, and by lines if `linear`."""
    box = ball.box(view, radius)
    student = view.student_fn
    network = lambda variables, image: (
        outputs_of(student.replace(variables=variables)(image)).logits
    )
    example = jax.ShapeDtypeStruct((1, *box.center.shape[1:]), jnp.float32)
    bounds = Bounds(network, student.variables, example)
    unit = jnp.eye(bounds.classes)

    def one(center: Array, reach: Array, label: Array) -> tuple[Array, Array]:
        rows = unit[label][None] - unit
        around = Interval(center[None], reach[None])
        by_intervals = bounds.margins(around, rows)
        return by_intervals, bounds.margins(around, rows, True) if linear else by_intervals

    return jax.vmap(one)(box.center, box.radius, label)
