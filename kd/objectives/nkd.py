"""Normalized KD (NKD): separate terms for the label's probability and the others' ranking."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd.objectives.dkd import split_by_label
from kd.ranges import NonNegative, Temperature
from kd.types import View


def normalized_kd(
    student: Float[Array, "... b c"],
    teacher: Float[Array, "... b c"],
    label: Int[Array, " b"],
    gamma: float,
    temperature: float,
    softened: Float[Array, "... b c"] | None = None,
) -> Float[Array, "... b"]:
    """-p_t[y] log p_s[y] - gamma T^2 sum_{i != y} q_t[i] log q_s[i], in nats.

    p is softmax(z), and q the distribution over the classes other than the label y, of
    softmax(z / T). With two classes the other class is certain, so the second term is 0.

    Yang et al. From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with
    Normalized Loss and Customized Soft Labels. ICCV 2023. https://arxiv.org/abs/2303.13005, L_nkd.

    Args:
      student: logits.
      teacher: logits.
      label: y.
      gamma: weight of the second term.
      temperature: T.
      softened: the teacher's logits for q, where they differ from `teacher`: the mean probabilities
        of an ensemble depend on T.
    """
    student, teacher = student.astype(jnp.float32), teacher.astype(jnp.float32)
    target = jnp.exp(split_by_label(teacher, label)[0]) * split_by_label(student, label)[0]
    others_s = split_by_label(student / temperature, label)[2]
    softened = teacher if softened is None else softened.astype(jnp.float32)
    others_t = split_by_label(softened / temperature, label)[2]
    kept = ~jax.nn.one_hot(label, student.shape[-1], dtype=bool)
    rest = jnp.sum(jnp.where(kept, jnp.exp(others_t) * others_s, 0.0), axis=-1)
    return -target[..., 0] - gamma * temperature**2 * rest


class NKD(nn.Module):
    """`normalized_kd`.

    Attributes:
      gamma: weight of the classes other than the label.
      temperature: T.
    """

    gamma: NonNegative = 1.5
    temperature: Temperature = 1.0

    needs = ("batch.label",)

    def __call__(self, view: View) -> Float[Array, "... b"]:
        return normalized_kd(
            view.student.logits,
            view.target(1.0),
            view.batch["label"],
            self.gamma,
            self.temperature,
            view.target(self.temperature),
        )
