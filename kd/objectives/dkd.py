"""Decoupled KD (DKD): separate divergences for the true class and for the others."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd.errors import InputError
from kd.objectives.kd import standardize_both
from kd.ranges import Natural, NonNegative, Temperature
from kd.types import View


def split_by_label(
    logits: Float[Array, "... b c"], label: Int[Array, " b"]
) -> tuple[Array, Array, Array]:
    """Logarithms of softmax(logits), split into the label and the other classes.

    Returns:
      log of the probability of the label, [..., b, 1]; of all other classes together, [..., b, 1];
      and of each among the others, [..., b, c], 0 at the label.

    Raises:
      InputError: fewer than two classes.
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

    b is the pair (probability of the label, of the rest) and q the distribution over the rest
    alone, both of softmax(z / T).

    Zhao, Cui, Song, Qiu, Liang. Decoupled Knowledge Distillation. CVPR 2022.
    https://arxiv.org/abs/2203.08679, Eq. 7.

    With alpha = 1 and beta = 1 - (the teacher's probability of the label) it is `distill_kl`, Eq.
    6. Departures from the public code: the label is masked exactly, where that code subtracts 1000
    from its logit; and everything is in log space, where that code takes the log of a probability
    that may be 0. With two classes the rest is one class, so its divergence is 0 and beta has no
    effect.

    A student that is nearly right about the label still has to learn how the others compare:

        >>> student, teacher = jnp.log(jnp.array([[[0.5, 0.25, 0.25]], [[0.6, 0.3, 0.1]]]))
        >>> label = jnp.array([0])
        >>> decoupled_kl(student, teacher, label, alpha=1.0, beta=0.0, temperature=1.0)
        Array([0.02], dtype=float32)
        >>> decoupled_kl(student, teacher, label, alpha=0.0, beta=8.0, temperature=1.0)
        Array([1.046], dtype=float32)
    """
    true_s, rest_s, others_s = split_by_label(student.astype(jnp.float32) / temperature, label)
    true_t, rest_t, others_t = split_by_label(teacher.astype(jnp.float32) / temperature, label)
    target = jnp.exp(true_t) * (true_t - true_s) + jnp.exp(rest_t) * (rest_t - rest_s)
    kept = ~jax.nn.one_hot(label, student.shape[-1], dtype=bool)
    rest = jnp.sum(jnp.where(kept, jnp.exp(others_t) * (others_t - others_s), 0.0), axis=-1)
    return temperature**2 * (alpha * target[..., 0] + beta * rest)


class DKD(nn.Module):
    """`decoupled_kl`, with a weight that grows linearly over the first epochs.

    Attributes:
      alpha: weight of the divergence of the label's probability.
      beta: weight of the divergence among the other classes.
      temperature: T.
      warmup_epochs: epoch (from 1) at which the weight reaches 1, min(epoch / warmup_epochs, 1), as
        in the public code; 0 for none.
      standardize: compare standardized logits (Sun et al. 2024, see `kd.losses.standardize`).
    """

    alpha: NonNegative = 1.0
    beta: NonNegative = 8.0
    temperature: Temperature = 4.0
    warmup_epochs: Natural = 20
    standardize: bool = False

    needs = ("batch.label",)

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
