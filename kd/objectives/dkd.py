"""Decoupled KD: the divergence of the true class's probability apart from that of the others'
proportions.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd.errors import InputError
from kd.objectives.kd import standardize_both
from kd.types import View


def split_by_label(
    logits: Float[Array, "... b c"], label: Int[Array, " b"]
) -> tuple[Array, Array, Array]:
    """Logs of the probability of the label [..., b, 1], of all others together, and of each among
    the others [..., b, c].
    """
    if logits.shape[-1] < 2:
        raise InputError("DKD and NKD need two classes or more: one leaves no others.")
    true = jax.nn.one_hot(label, logits.shape[-1], dtype=bool)
    log_p = jax.nn.log_softmax(logits)
    log_true = jnp.sum(jnp.where(true, log_p, 0.0), axis=-1, keepdims=True)
    log_rest = jax.nn.logsumexp(jnp.where(true, -jnp.inf, log_p), axis=-1, keepdims=True)
    return log_true, log_rest, jnp.where(true, 0.0, log_p - log_rest)


def decoupled_kl(
    student: Float[Array, "... b c"],
    teacher: Float[Array, "... b c"],
    label: Int[Array, " b"],
    alpha: float,
    beta: float,
    temperature: float,
) -> Float[Array, "... b"]:
    """T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s)), in nats.

    b is the pair (probability of the label, that of the rest) and q the distribution over the rest
    alone, both of softmax(z / T).

    Zhao, Cui, Song, Qiu, Liang. Decoupled Knowledge Distillation. CVPR 2022.
    https://arxiv.org/abs/2203.08679, Eq. 7.

    With alpha = 1 and beta = 1 - (the teacher's probability of the label) it is `kd.distill_kl`,
    Eq. 6. Departures from the public code: the label is masked exactly, where that code subtracts
    1000 from its logit, and all is in log space, where it takes the log of a probability that may
    be 0. Of two classes the rest is one, so its divergence is 0 and beta has no effect.
    """
    true_s, rest_s, others_s = split_by_label(student.astype(jnp.float32) / temperature, label)
    true_t, rest_t, others_t = split_by_label(teacher.astype(jnp.float32) / temperature, label)
    target = jnp.exp(true_t) * (true_t - true_s) + jnp.exp(rest_t) * (rest_t - rest_s)
    kept = ~jax.nn.one_hot(label, student.shape[-1], dtype=bool)
    rest = jnp.sum(jnp.where(kept, jnp.exp(others_t) * (others_t - others_s), 0.0), axis=-1)
    return temperature**2 * (alpha * target[..., 0] + beta * rest)


class DKD(nn.Module):
    """`decoupled_kl`, its weight growing by equal parts over the first epochs.

    Attributes:
      warmup_epochs: epoch (from 1) at which the weight is whole, min(epoch / warmup_epochs, 1), as
        the public code has it; 0 for none.
      standardize: of standardized logits (Sun et al. 2024, see `kd.objectives.kd`).
    """

    alpha: float = 1.0
    beta: float = 8.0
    temperature: float = 4.0
    warmup_epochs: int = 20
    standardize: bool = False

    def __call__(self, view: View) -> Float[Array, "... b"]:
        student, teacher = view.student.logits, view.target(self.temperature)
        if self.standardize:
            student, teacher = standardize_both(student, teacher)
        loss = decoupled_kl(
            student, teacher, view.batch["label"], self.alpha, self.beta, self.temperature
        )
        return loss * warmup(view, self.warmup_epochs)


def warmup(view: View, epochs: int) -> Float[Array, ""]:
    """min(epoch / epochs, 1), the epoch counted from 1; 1 where `epochs` is 0."""
    return jnp.minimum((view.epoch + 1.0) / max(epochs, 1), 1.0)
