"""Multi-layer perceptrons, on inputs of any shape."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kd.ranges import Classes, Probability, Widths
from kd.types import Outputs


class MLP(nn.Module):
    """Fully connected ReLU network; the input is flattened.

    Attributes:
      num_classes: size of the output.
      widths: units of each hidden layer.
      dropout: probability of dropping a hidden unit in training.
      input_dropout: the same for the inputs.
      dtype: of the hidden layers; parameters, `pooled` and logits stay float32.

    Features: `stage1`, `stage2`, ... after each ReLU, and `pooled`, the last of them; all [b,
    width].
    """

    num_classes: Classes
    widths: Widths = (256, 256)
    dropout: Probability = 0.0
    input_dropout: Probability = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b ..."], train: bool = False) -> Outputs:
        x = image.reshape(image.shape[0], -1)
        x = nn.Dropout(self.input_dropout, deterministic=not train)(x)
        features = {}
        for i, width in enumerate(self.widths, start=1):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"layer{i}")(x))
            features[f"stage{i}"] = x
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = x.astype(jnp.float32)
        features["pooled"] = x
        return Outputs(nn.Dense(self.num_classes, name="head")(x).astype(jnp.float32), features)
