"""Ensemble distribution distillation (EnD^2): the student predicts a Dirichlet."""

from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.objectives.ibp import progress
from kd.ranges import Natural, Range
from kd.types import View

LARGEST = 40.0
"""Largest logarithm of a concentration: its square, in the norm of a gradient, is still finite in
float32.
"""


def dirichlet_nll(
    student: Float[Array, "b c"],
    members: Float[Array, "m b c"],
    weights: Float[Array, "m *b"],  # noqa: F821  (a shape)
    temperature: float | Float[Array, ""] = 1.0,
    smoothing: float = 1e-3,
) -> Float[Array, " b"]:
    """-T^2 sum_m w_m log Dirichlet(p_m; a), p_m = softmax(z_m / T), a = exp(student / T), in nats.

    Malinin, Mlodozeniec, Gales. Ensemble Distribution Distillation. ICLR 2020.
    https://arxiv.org/abs/1905.00076, the negative log likelihood of the members' predictions,
    section 4. As in the public code (KaosEngineer/PriorNetworks), the loss is multiplied by T^2,
    and p is moved towards 1 / c by `smoothing`: without it the logarithms of probabilities near
    zero, in which members differ by many nats, outweigh all others.

    The student's prediction, the mean of the Dirichlet, is softmax(student). For concentrations
    above about 1e5, float32 keeps the gradient and loses the last digits of the value. Beyond e^40
    and e^-40, value and gradient are those at these limits, finite in float32.

    Args:
      student: logits, the logarithms of the concentrations.
      members: logits of the m members.
      weights: of the members, [m] or [m, b], of sum one.
      temperature: T.
      smoothing: share of each member's prediction that is spread evenly over all classes.
    """
    student = student.astype(jnp.float32) / temperature
    bounded = jnp.clip(student, -LARGEST, LARGEST)
    student = student + jax.lax.stop_gradient(bounded - student)
    log_p = jax.nn.log_softmax(members.astype(jnp.float32) / temperature)
    even = jnp.log(jnp.float32(smoothing / student.shape[-1]))
    log_p = jnp.logaddexp(log_p + jnp.log1p(-jnp.float32(smoothing)), even)
    weights = weights if weights.ndim == 2 else weights[:, None]
    mean = jnp.sum(weights[..., None] * log_p, axis=0)
    concentration = jnp.exp(student)
    precision = jnp.sum(concentration, axis=-1)
    likelihood = jnp.sum((concentration - 1) * mean - gammaln(concentration), axis=-1)
    return -(likelihood + gammaln(precision)) * temperature**2


def annealed_temperature(
    epoch: Float[Array, "*e"], temperature: float, hold: int, epochs: int
) -> Float[Array, "*e"]:
    """`temperature` for `hold` epochs, then linearly down to 1 over `epochs` (0: at once)."""
    elapsed = epoch - hold
    done = jnp.clip(elapsed / epochs, 0.0, 1.0) if epochs else jnp.where(elapsed < 0, 0.0, 1.0)
    return temperature + (1.0 - temperature) * done


class END2(nn.Module):
    """`dirichlet_nll` of the members' probabilities, at a temperature that falls to 1.

    The student learns how much the members of its ensemble disagree. A high temperature brings the
    members together at first: the likelihood of predictions near the corners of the simplex is hard
    to climb. The public code has T = 10 and lowers it once an epoch, over 60 epochs after 30. Here
    it falls with every update, since in a few epochs such steps would be too large: from 5.5 to 1
    at once the concentrations grow so much that nothing more is learned. Gradients can be large, so
    that a run that does not clip them is refused (config.optimizer.clip_norm).

    Attributes:
      temperature: at the start.
      hold: epochs at that temperature.
      epochs: over which it falls to 1.
      smoothing: see `dirichlet_nll`.
    """

    temperature: Annotated[float, Range(1, 1e4)] = 10.0
    hold: Natural = 30
    epochs: Natural = 60
    smoothing: Annotated[float, Range(above=0, below=1)] = 1e-3

    DIRICHLET: ClassVar[bool] = True  # see `kd.objective`
    clip_norm: ClassVar[float] = 10.0  # that of the public code

    @property
    def least_epochs(self) -> int:
        """Epochs until the temperature is 1, at which the student's outputs are read."""
        return self.hold + self.epochs + 1

    def __call__(self, view: View) -> Float[Array, " b"]:
        if self.temperature < 1 or not 0 < self.smoothing < 1:
            raise InputError(
                "end2.END2: expected a temperature of at least 1 and a smoothing in (0, 1), got "
                f"{self.temperature} and {self.smoothing}."
            )
        ensemble = view.members()
        temperature = annealed_temperature(progress(view), self.temperature, self.hold, self.epochs)
        return dirichlet_nll(
            view.student.logits, ensemble.members, ensemble.weights, temperature, self.smoothing
        )
