"""Convolutional maxout networks, and the two of FitNets on MNIST."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from kd.errors import InputError
from kd.models import layers
from kd.ranges import Classes, Length, Natural, NonNegative, Probability, Range, Width, Widths
from kd.types import Outputs

STRIDE = 2
"""Of every pooling."""


class Maxout(nn.Module):
    """Convolutions whose channels are each the maximum of several linear ones; no normalisation.

    Goodfellow, Warde-Farley, Mirza, Courville, Bengio. Maxout Networks. ICML 2013.
    https://arxiv.org/abs/1302.4389. As in its public code, pooling has stride 2, and its last
    window may reach beyond the map.

    Attributes:
      num_classes: c.
      widths: channels of each convolution.
      kernels: its side.
      paddings: zeros on every side of its input.
      pools: side of the pooling after it, 0: none. The last has one.
      pieces: linear channels of which one is the maximum.
      dropout: probability of dropping an activation after each pooling in training; after each
        convolution without one.
      input_dropout: the same for the pixels.
      initial: kernels begin uniformly between -`initial` and `initial`, in the public code 0.005.
        0: with the variance 1 / fan_in, which keeps that of two-piece units from layer to layer.
      dtype: of the convolutions; parameters, `pooled` and logits stay float32.

    Features: `stage1`, `stage2`, ... after each pooling, which may be negative, and `pooled`, the
    last of them flattened, [b, n].
    """

    num_classes: Classes
    widths: Widths = (48, 48, 24)
    kernels: Widths = (8, 8, 5)
    paddings: Annotated[Sequence[Natural], Length(1)] = (0, 3, 3)
    pools: Annotated[Sequence[Natural], Length(1)] = (4, 4, 2)
    pieces: Annotated[Width, Range(1, 64)] = 2
    dropout: Probability = 0.0
    input_dropout: Probability = 0.0
    initial: NonNegative = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        layers.check_image(self, image, "conv1", smallest=1)
        lengths = {len(x) for x in (self.widths, self.kernels, self.paddings, self.pools)}
        if len(lengths) > 1 or not self.pools[-1]:
            raise InputError(
                "maxout.Maxout: widths, kernels, paddings and pools have one number for each "
                "convolution, and the last of pools is not 0."
            )
        drop = lambda x, rate: nn.Dropout(rate, deterministic=not train)(x)
        init = partial(_uniform, limit=self.initial)
        x, features = drop(image, self.input_dropout), {}
        sizes = zip(self.widths, self.kernels, self.paddings, self.pools, strict=True)
        for i, (width, kernel, padding, pool) in enumerate(sizes, start=1):
            if min(x.shape[1:3]) + 2 * padding < kernel:
                raise InputError(
                    f"maxout.Maxout: the map before conv{i} is {x.shape[1]} x {x.shape[2]}, too "
                    f"small for a kernel of {kernel}. Take larger images or smaller kernels."
                )
            x = nn.Conv(
                width * self.pieces,
                (kernel, kernel),
                padding=padding,
                kernel_init=init,
                dtype=self.dtype,
                name=f"conv{i}",
            )(x)
            x = jnp.max(x.reshape(*x.shape[:-1], width, self.pieces), axis=-1)
            if pool:
                x = _max_pool(x, pool)
                features[f"stage{len(features) + 1}"] = x
            x = drop(x, self.dropout)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        features["pooled"] = x
        logits = nn.Dense(self.num_classes, kernel_init=init, name="head")(x)
        return Outputs(logits.astype(jnp.float32), features)


fitnet_mnist_teacher = partial(Maxout)
"""Romero et al. 2015, appendix A.2: 361 thousand parameters on images of 28 x 28."""

fitnet_mnist = partial(
    Maxout,
    widths=(16, 16, 16, 16, 12, 12),
    kernels=(5, 3, 5, 3, 3, 3),
    paddings=(0, 0, 3, 0, 3, 0),
    pools=(0, 4, 0, 4, 0, 2),
)
"""The same, the student of 30 thousand parameters: twice as deep, `stage2` after four of its six
convolutions has the teacher's places. Kernels and padding are those of the authors' code.
"""


def _max_pool(x: Float[Array, "b h w d"], side: int) -> Float[Array, "b p q d"]:
    """Maxima over windows; the last ones may reach beyond the map."""
    beyond = [(0, max(0, -(n - side) % STRIDE if n > side else side - n)) for n in x.shape[1:3]]
    return nn.max_pool(x, (side, side), strides=(STRIDE, STRIDE), padding=beyond)


def _uniform(
    key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike = jnp.float32, limit: float = 0.0
) -> Array:
    """Uniform between -limit and limit, 0: of variance 1 / fan_in; drawn as a vector, see
    `kd.models.initializers`.
    """
    bound = limit or math.sqrt(3 / math.prod(shape[:-1]))
    size = (math.prod(shape),)
    return jax.random.uniform(key, size, dtype, -bound, bound).reshape(shape)
