"""Softmax regression (SRRL): the teacher's classifier reads the student's feature."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import unknown
from kd.features import (
    BatchNorm,
    Dense,
    Name,
    einsum,
    flat,
    pair,
    require,
    require_rectified,
    teacher_outputs,
)
from kd.objectives.fitnet import hint
from kd.objectives.kd import logit_mse
from kd.ranges import NonNegative
from kd.types import View


def teacher_head(view: View, name: str) -> tuple[Array, Array]:
    """Kernel [d, c] and bias [c] of the teacher's last layer, without gradient.

    Raises:
      InputError: the teacher has no linear layer of that name, or its variables are not available.
    """
    require(view, "teacher_variables")
    params = view.teacher_variables["params"]
    if name not in params or "kernel" not in params[name]:
        raise unknown("linear layer of the teacher", name, params)
    kernel = params[name]["kernel"].astype(jnp.float32)
    bias = params[name].get("bias", jnp.zeros(kernel.shape[-1]))
    return kernel, bias.astype(jnp.float32)


class SRRL(nn.Module):
    """Mean squared errors of the feature and of the logits that the teacher's classifier gives it.

    The student's pooled feature passes a linear layer without bias, BatchNorm and ReLU to the
    teacher's width.

    Yang, Martinez, Bulat, Tzimiropoulos. Knowledge Distillation via Softmax Regression
    Representation Learning. ICLR 2021. https://openreview.net/forum?id=ZzwDy_wiWv, L_FM and L_SR
    (the L2 variant), as the public code of Chen et al. 2022 weights them: 1 and 1.

    Attributes:
      feature: pair of features; the teacher's must be the input of its classifier.
      classifier: name of the linear layer in the teacher's params.
      regression: weight of the logits' term.
    """

    feature: Name = "pooled"
    classifier: str = "head"
    regression: NonNegative = 1.0

    needs = ("teacher_variables",)

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        student, teacher = map(flat, pair(view, self.feature))
        require_rectified(teacher_outputs(view), "SRRL")
        kernel, bias = teacher_head(view, self.classifier)
        x = Dense(teacher.shape[-1], use_bias=False, name="connector")(student)
        x = nn.relu(BatchNorm(name="norm")(x))
        logits = einsum("bd,dc->bc", x, kernel) + bias[None, :]
        return hint(x, teacher) + self.regression * logit_mse(logits, view.target(1.0))
