"""Transformed teacher matching (TTM): only the teacher is softened."""

from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.ranges import Range
from kd.types import View


def transformed_kl(
    student: Float[Array, "b c"], teacher: Float[Array, "b c"], exponent: float
) -> Float[Array, " b"]:
    """KL(q || softmax(student)) in nats, with q proportional to softmax(teacher)^exponent.

    Softening the teacher alone regularises the student by its Rényi entropy.

    Zheng, Yang. Knowledge Distillation Based on Transformed Teacher Matching. ICLR 2024.
    https://arxiv.org/abs/2402.11148. The exponent is 1 / T; there is no factor T^2.
    """
    log_p = jax.nn.log_softmax(student.astype(jnp.float32))
    log_q = jax.nn.log_softmax(exponent * teacher.astype(jnp.float32))
    return jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1)


def power_sum(teacher: Float[Array, "b c"], exponent: float) -> Float[Array, " b"]:
    """sum_c softmax(teacher)_c^exponent, [b].

    It is near 1 where the teacher is certain, up to c^(1 - exponent) where it is not.
    """
    log_p = jax.nn.log_softmax(teacher.astype(jnp.float32))
    return jnp.exp(jax.nn.logsumexp(exponent * log_p, axis=-1))


class TTM(nn.Module):
    """`transformed_kl`.

    Attributes:
      exponent: 1 / T.
    """

    exponent: Annotated[float, Range(1e-4, 1e4)] = 0.1

    def __call__(self, view: View) -> Float[Array, " b"]:
        target = view.target(1 / self.exponent)
        return transformed_kl(view.student.logits, target, self.exponent)


class WTTM(nn.Module):
    """`transformed_kl` weighted by `power_sum`. Zheng, Yang 2024.

    Images on which the teacher is unsure have more weight.

    Attributes:
      exponent: 1 / T.
    """

    exponent: Annotated[float, Range(1e-4, 1e4)] = 0.1

    def __call__(self, view: View) -> Float[Array, " b"]:
        target = view.target(1 / self.exponent)
        weight = power_sum(view.target(1.0), self.exponent)
        return weight * transformed_kl(view.student.logits, target, self.exponent)
