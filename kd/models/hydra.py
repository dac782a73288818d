"""A student with one head per member of its teacher's ensemble."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kd.errors import InputError
from kd.models import layers
from kd.models.wrapped import make, without
from kd.ranges import Classes, Depth
from kd.types import Outputs, outputs_of

HEADS = "heads"
"""Name of the feature [b, m, c]: the logits of each head."""


class Hydra(nn.Module):
    """The body of a network with m linear heads on its `pooled` feature; it predicts their mean.

    Tran et al. Hydra: Preserving Ensemble Diversity for Model Distillation. 2020.
    https://arxiv.org/abs/2001.04694, section 3. The authors first train one head on the ensemble's
    mean and initialise the others from it; here all heads are trained from the start.

    Attributes:
      student: section of a network, such as `{"name": "cnn.CNN"}`, with its settings; its
        classifier is removed.
      num_classes: c.
      heads: m, the number of the ensemble's members.
      dtype: of the body; parameters, statistics, heads and logits stay float32.

    Features: the body's, and `heads` [b, m, c]. The logits are log mean_m softmax(head_m).
    """

    student: Mapping[str, Any]
    num_classes: Classes
    heads: Depth = 5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        if self.heads < 1:
            raise InputError(f"student.heads: expected 1 or more, got {self.heads}.")
        precision = {} if self.dtype == jnp.float32 else {"dtype": self.dtype}
        body = make({**self.student, **precision}, self.num_classes, "student", name="student")
        with nn.intercept_methods(without(body, "head")):
            outputs = outputs_of(body(image, train))
        x = outputs.feature("pooled").astype(jnp.float32)
        heads = nn.Dense(self.heads * self.num_classes, name=HEADS)(x)
        heads = heads.reshape(-1, self.heads, self.num_classes)
        log_p = jax.nn.log_softmax(heads)
        logits = jax.nn.logsumexp(log_p, axis=1) - jnp.log(self.heads)
        return Outputs(logits, {**outputs.features, HEADS: heads})
