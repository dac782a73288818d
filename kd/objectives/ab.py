"""Activation boundaries (AB): the student's neurons fire where the teacher's fire."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Name, as_map, flat, pairs, regressed, total
from kd.ranges import NonNegative
from kd.types import View


def activation_boundary(
    student: Float[Array, "b ..."], teacher: Float[Array, "b ..."], margin: float = 1.0
) -> Float[Array, " b"]:
    """Penalty for each neuron on the wrong side of the teacher's activation boundary, [b].

        sum over neurons of  (s + margin)^2  where t <= 0 and s > -margin,
                             (s - margin)^2  where t > 0 and s <= margin

    s and t are activations before the ReLU.

    Heo, Lee, Yun, Choi. Knowledge Transfer via Distillation of Activation Boundaries Formed by
    Hidden Neurons. AAAI 2019. https://arxiv.org/abs/1811.03233, the alternative loss: the loss of
    activation transfer is a step and has no gradient.
    """
    s, t = flat(student), flat(teacher)
    fires = t > 0
    wrong = jnp.where(fires, margin - s, margin + s)
    return jnp.sum(jnp.maximum(wrong, 0.0) ** 2, axis=-1)


class AB(nn.Module):
    """Weighted sum of `activation_boundary` over stages: the first of two runs.

    Stage i of n has the weight 2^(i - n) * 3 / 1000. Where shapes differ, the student's map passes
    a connector (convolution, BatchNorm) that is trained with it. The first run has this objective
    alone, at a constant learning rate (30 epochs in the tables). The second starts from its student
    (`config.init`) and has cross entropy alone.

    Attributes:
      features: pairs of activations before the ReLU; None: `stage1_pre`, ... of both networks.
      margin: how far beyond the boundary an activation has to be to cost nothing.
    """

    features: Sequence[Name] | None = None
    margin: NonNegative = 1.0

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        feature_pairs = pairs(view, self.features, suffix="_pre")
        losses = []
        for i, feature_pair in enumerate(feature_pairs, start=1):
            student, teacher = map(as_map, feature_pair)
            if student.shape != teacher.shape:
                name = f"connector{i}"
                student = regressed(view, student, teacher, name, relu=False)
            loss = activation_boundary(student, teacher, self.margin)
            losses.append(2.0 ** (i - len(feature_pairs)) * 3 / 1000 * loss)
        return total(losses)
