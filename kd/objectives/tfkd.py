"""Teacher-free KD (Tf-KD): a virtual teacher that is always right."""

from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd.ranges import Range, Temperature
from kd.types import View


def virtual_teacher(
    label: Int[Array, " b"], num_classes: int, correct: float = 0.99, temperature: float = 20.0
) -> Float[Array, "b c"]:
    """Log of softmax(p / T), [b, c].

    p is `correct` for the label and (1 - correct) / (c - 1) for every other class. The temperature
    divides probabilities, not logits, so the target is nearly uniform:

        >>> jnp.exp(virtual_teacher(jnp.array([1]), num_classes=3))
        Array([[0.328, 0.344, 0.328]], dtype=float32)
    """
    p = jnp.full((len(label), num_classes), (1 - correct) / (num_classes - 1))
    p = p.at[jnp.arange(len(label)), label].set(correct)
    return jax.nn.log_softmax(p / temperature)


class VirtualTeacher(nn.Module):
    """KL(virtual teacher || softmax(student)), in nats.

    Yuan, Tay, Li, Wang, Feng. Revisiting Knowledge Distillation via Label Smoothing Regularization.
    CVPR 2020. https://arxiv.org/abs/1909.11723, Tf-KD_reg: cross entropy has the weight 1 - alpha,
    this term alpha.

    As in the authors' code (`loss_kd_regularization`) the temperature divides probabilities, not
    logits; the student is not softened and nothing is multiplied by T^2. That code also takes the
    mean over classes, times a `multiplier` tuned per network: this loss times multiplier / c is
    theirs.

    Their other method, Tf-KD_self, is plain KD from a run of the same network: see `tf_kd_self` in
    METHODS of configs/methods.py.

    Attributes:
      correct: probability of the label.
      temperature: T.
    """

    correct: Annotated[float, Range(above=0, below=1)] = 0.99
    temperature: Temperature = 20.0

    needs = ("batch.label",)

    def __call__(self, view: View) -> Float[Array, "*k b"]:
        logits = view.student.logits.astype(jnp.float32)
        log_p = jax.nn.log_softmax(logits)
        settings = self.correct, self.temperature
        log_q = virtual_teacher(view.batch["label"], logits.shape[-1], *settings)
        log_q = jnp.broadcast_to(log_q, log_p.shape)
        return jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1)
