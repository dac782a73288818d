"""A student with a head for each member of the ensemble that teaches it."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kd.errors import InputError
from kd.models import layers
from kd.models.wrapped import make, without
from kd.types import Outputs

HEADS = "heads"
"""Name of the feature [b, m, c]: the logits of each head."""


class Hydra(nn.Module):
    """The body of a network, and on its `pooled` feature a linear head for each of m teachers; it
    predicts their heads' mean.

    Tran et al. Hydra: Preserving Ensemble Diversity for Model Distillation. 2020.
    https://arxiv.org/abs/2001.04694, section 3. The authors train one head on the ensemble's mean
    first and start the others from it; here all begin at once.

    Attributes:
      student: section of a network, such as `{"name": "cnn.CNN"}`, with its settings; its own
        classifier is left out.
      num_classes: c.
      heads: m, as many as the ensemble has members.
      dtype: of the body; parameters, statistics, heads and logits stay float32.

    Features: the body's, and `heads` [b, m, c]. The logits are log mean_m softmax(head_m).
    """

    student: Mapping[str, Any]
    num_classes: int
    heads: int = 5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        if self.heads < 1:
            raise InputError(f"student.heads: expected 1 or more, got {self.heads}.")
        told = {} if self.dtype == jnp.float32 else {"dtype": self.dtype}
        body = make({**self.student, **told}, self.num_classes, "student", name="student")
        with nn.intercept_methods(without(body, "head")):
            outputs = body(image, train)
        x = outputs.feature("pooled").astype(jnp.float32)
        heads = nn.Dense(self.heads * self.num_classes, name=HEADS)(x)
        heads = heads.reshape(-1, self.heads, self.num_classes)
        log_p = jax.nn.log_softmax(heads)
        logits = jax.nn.logsumexp(log_p, axis=1) - jnp.log(self.heads)
        return Outputs(logits, {**outputs.features, HEADS: heads})
