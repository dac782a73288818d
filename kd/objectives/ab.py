"""Activation boundaries: the student's neurons fire where the teacher's fire."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Name, as_map, flat, pairs, regressed, total
from kd.types import View


def activation_boundary(
    student: Float[Array, "b ..."], teacher: Float[Array, "b ..."], margin: float = 1.0
) -> Float[Array, " b"]:
    """Sum over neurons of (s + margin)^2 where the teacher is silent (t <= 0) and s > -margin, (s -
    margin)^2 where it fires and s <= margin.

    Both are activations before the ReLU.

    Heo, Lee, Yun, Choi. Knowledge Transfer via Distillation of Activation Boundaries Formed by
    Hidden Neurons. AAAI 2019. https://arxiv.org/abs/1811.03233, its alternative loss (that of the
    activation transfer is a step and has no gradient).
    """
    s, t = flat(student), flat(teacher)
    fires = t > 0
    wrong = jnp.where(fires, margin - s, margin + s)
    return jnp.sum(jnp.maximum(wrong, 0.0) ** 2, axis=-1)


class AB(nn.Module):
    """Sum over stages of 2^(i - n) `activation_boundary` * 3 / 1000, i = 1, ..., n: the first of
    two runs.

    The student is seen through a connector (convolution, BatchNorm) where shapes differ, trained
    with it. The first run has this objective alone, at a constant learning rate (30 epochs in the
    tables); the second starts from its student (`config.init`) with cross entropy alone.

    Attributes:
      features: pairs of activations before the ReLU; `stage1_pre`, ... of both where it is None.
    """

    features: Sequence[Name] | None = None
    margin: float = 1.0

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        found = pairs(view, self.features, suffix="_pre")
        losses = []
        for i, both in enumerate(found, start=1):
            student, teacher = map(as_map, both)
            if student.shape != teacher.shape:
                name = f"connector{i}"
                student = regressed(view, student, teacher, name, relu=False)
            loss = activation_boundary(student, teacher, self.margin)
            losses.append(2.0 ** (i - len(found)) * 3 / 1000 * loss)
        return total(losses)
