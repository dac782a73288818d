"""Layers as Keras makes them, for the networks of MLPerf Tiny.

Convolutions have biases before BatchNorm and pad as `SAME`, with which a stride of 2 pads zeros
only on the right and below at even sizes. BatchNorm's running statistics follow some hundred
updates behind (momentum 0.99): after a run of a few hundred updates they are not yet those of the
network, and it is worse in evaluation than in training.
"""

import math
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, PRNGKeyArray

from kd.models.norm import BatchNorm

Norm = partial(BatchNorm, momentum=0.99, epsilon=1e-3)


def glorot_uniform(
    key: PRNGKeyArray, shape: Sequence[int], dtype: DTypeLike = jnp.float32
) -> Array:
    """Uniform on +-sqrt(6 / (fan_in + fan_out)), Keras's default; drawn as a vector, see
    `kd.models.initializers`.

    Glorot, Bengio. Understanding the difficulty of training deep feedforward neural networks.
    AISTATS 2010, Eq. 16.
    """
    area = math.prod(shape[:-2])
    bound = math.sqrt(6 / (area * (shape[-2] + shape[-1])))
    return jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound).reshape(shape)


def conv(
    features: int,
    kernel: tuple[int, int],
    stride: int = 1,
    *,
    name: str,
    groups: int = 1,
    kernel_init: Initializer = glorot_uniform,
) -> nn.Conv:
    """A convolution with a bias."""
    return nn.Conv(
        features,
        kernel,
        strides=stride,
        padding="SAME",
        feature_group_count=groups,
        kernel_init=kernel_init,
        name=name,
    )
