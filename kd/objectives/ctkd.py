"""Curriculum temperature (CTKD): a learned temperature that works against the student."""

from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.objectives.kd import distill_kl
from kd.ranges import Natural, Range, Temperature
from kd.types import View


def scale_gradient(x: Float[Array, "..."], factor: float | Float[Array, ""]) -> Float[Array, "..."]:
    """x, with its gradient multiplied by `factor`.

    Ganin, Lempitsky 2015, https://arxiv.org/abs/1409.7495, with a negative factor.
    """
    still = jax.lax.stop_gradient(x)
    return still + factor * (x - still)


def curriculum(epoch: float | Array, epochs: int) -> Float[Array, ""]:
    """Factor of the gradient: from 0 down to -1 by half a cosine over `epochs`, then -1.

    Li et al. 2023, the schedule of lambda.
    """
    done = jnp.clip(jnp.asarray(epoch, jnp.float32) / epochs, 0.0, 1.0)
    return (jnp.cos(jnp.pi * done) - 1) / 2


class CTKD(nn.Module):
    """`distill_kl` at a learned temperature, lowest + span sigmoid(theta).

    theta climbs the loss that the student descends, and more so as training goes on: its gradient
    is multiplied by `curriculum` of the epoch, counted from 1. There is one theta, which starts at
    1.

    Li et al. Curriculum Temperature for Knowledge Distillation. AAAI 2023.
    https://arxiv.org/abs/2211.16231, the global temperature. An ensemble is averaged at the learned
    temperature, too.

    Attributes:
      lowest: lowest temperature.
      span: highest temperature minus the lowest.
      epochs: until the gradient is fully reversed; 0: from the first.
    """

    lowest: Temperature = 1.0
    span: Annotated[float, Range(0, 1e4)] = 20.0
    epochs: Natural = 10

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        theta = self.param("theta", nn.initializers.ones, (), jnp.float32)
        theta = scale_gradient(theta, curriculum(view.epoch + 1, self.epochs))
        temperature = self.lowest + self.span * jax.nn.sigmoid(theta)
        return distill_kl(view.student.logits, view.target(temperature), temperature)
