"""Knowledge distillation (KD): softened probabilities, logits, or hard labels of a teacher."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.objectives.ce import cross_entropy
from kd.ranges import Temperature
from kd.types import View


def distill_kl(
    student: Float[Array, "... b c"],
    teacher: Float[Array, "... b c"],
    temperature: float | Float[Array, ""],
) -> Float[Array, "... b"]:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), in nats. Leading axes broadcast.

    Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015.
    https://arxiv.org/abs/1503.02531, Eq. 1; T^2 keeps the size of the gradient, section 2.

        >>> teacher = jnp.array([[5.0, 2.0, 0.0], [0.0, 3.0, 0.0]])
        >>> student = jnp.array([[4.0, 0.0, 3.0], [0.0, 3.0, 0.0]])
        >>> distill_kl(student, teacher, temperature=4.0)
        Array([1.656, 0.   ], dtype=float32)
    """
    log_p = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
    log_q = jax.nn.log_softmax(teacher.astype(jnp.float32) / temperature)
    return temperature**2 * jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1)


def logit_mse(
    student: Float[Array, "*m b c"], teacher: Float[Array, "*m b c"]
) -> Float[Array, "*m b"]:
    """mean_c (student - teacher)^2.

    Ba, Caruana. Do Deep Nets Really Need to be Deep? NeurIPS 2014.
    https://arxiv.org/abs/1312.6184, Eq. 1, with the mean over classes in place of half the sum.

        >>> logit_mse(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 5.0]]))
        Array([6.5], dtype=float32)
    """
    difference = student.astype(jnp.float32) - teacher.astype(jnp.float32)
    return jnp.mean(difference**2, axis=-1)


def standardize(logits: Float[Array, "*m b c"]) -> Float[Array, "*m b c"]:
    """(z - mean(z)) / (std(z) + 1e-7) of each row, std with c - 1 degrees of freedom.

    Sun et al. Logit Standardization in Knowledge Distillation. CVPR 2024.
    https://arxiv.org/abs/2403.01427, Eq. 7 and Algorithm 1.

    A row of equal logits has no direction to grow in: it gives zeros with zero gradient (the
    formula's gradient is 1e7).

        >>> standardize(jnp.array([[10.0, 20.0, 30.0]]))
        Array([[-1.,  0.,  1.]], dtype=float32)

    Raises:
      InputError: fewer than two classes.
    """
    if logits.shape[-1] < 2:
        raise InputError("standardized logits need two classes or more: one class has no spread.")
    logits = logits.astype(jnp.float32)
    centred = logits - jnp.mean(logits, axis=-1, keepdims=True)
    variance = jnp.sum(centred**2, axis=-1, keepdims=True) / (logits.shape[-1] - 1)
    std = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
    return jnp.where(variance > 0, centred / (std + 1e-7), 0.0)


def standardize_both(student: Array, teacher: Array) -> tuple[Array, Array]:
    """`standardize` of the logits of student and teacher, to be compared.

    Raises:
      InputError: two classes. Every row is then (1, -1) / sqrt 2 or its opposite, whatever the
        logits, and has no gradient.
    """
    if student.shape[-1] == 2:
        raise InputError(
            "standardized logits of two classes are always the same two numbers, from which "
            "nothing can be learnt: leave standardize at False."
        )
    return standardize(student), standardize(teacher)


class KD(nn.Module):
    """`distill_kl` of the teacher's logits, or of standardized logits.

    An ensemble that averages probabilities does so at this temperature.

    Attributes:
      temperature: T, of both networks.
      standardize: compare standardized logits (Sun et al. 2024, see `kd.losses.standardize`).
    """

    temperature: Temperature = 4.0
    standardize: bool = False

    def __call__(self, view: View) -> Float[Array, "*m b"]:
        student, teacher = view.student.logits, view.target(self.temperature)
        if self.standardize:
            student, teacher = standardize_both(student, teacher)
        return distill_kl(student, teacher, self.temperature)


class LogitMSE(nn.Module):
    """`logit_mse` to the teacher's logits: the control that every table should have."""

    def __call__(self, view: View) -> Float[Array, "*m b"]:
        return logit_mse(view.student.logits, view.target(1.0))


class HardLabel(nn.Module):
    """Cross entropy with the class that the teacher predicts.

    Touvron et al. Training data-efficient image transformers. ICML 2021.
    https://arxiv.org/abs/2012.12877, Eq. 3 (the second term alone).
    """

    def __call__(self, view: View) -> Float[Array, "*m b"]:
        label = jnp.argmax(view.target(1.0), axis=-1)
        return cross_entropy(view.student.logits, label)
