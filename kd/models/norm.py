"""Batch normalisation with PyTorch's arithmetic, which all published CIFAR numbers use."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kd.features import check_values
from kd.ranges import Fraction, Positive

# Weights that were read from a file are NumPy arrays.
type Vector = Float[Array | np.ndarray, " d"]


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(var + epsilon) * scale + bias over all axes but the last.

    Ioffe, Szegedy. Batch Normalization. ICML 2015. https://arxiv.org/abs/1502.03167, Algorithms 1
    and 2.

    In training, mean and var are those of the batch, var divided by n; the running variance
    averages the estimate divided by n - 1, as in the paper and in PyTorch (Flax's BatchNorm divides
    by n). In evaluation the running statistics are used. Statistics are float32 for every type of
    x.

    Attributes:
      momentum: weight of the old value in each update of the running statistics; 1 minus PyTorch's
        momentum.
      epsilon: added to the variance.
      dtype: type of the output.
      axis_name: under `jax.pmap`, the mapped axis over which moments are averaged, too. Not needed
        under `jax.jit`, where moments are those of the full batch however it is sharded.

    Variables: `params` scale and bias, `batch_stats` mean and var, all float32 [d].
    """

    momentum: Fraction = 0.9
    epsilon: Positive = 1e-5
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b *n d"], train: bool = False) -> Array:
        """x normalised, of the same shape.

        Raises:
          InputError: in training, a single value per channel, which has no variance.
        """
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train or self.is_initializing():
            return self._normalise(x, mean.value, var.value, scale, bias)
        batch_mean, batch_var, n = self._moments(x, mean.value)
        decay = lambda old, new: self.momentum * old + (1 - self.momentum) * new
        mean.value = decay(mean.value, batch_mean)
        var.value = decay(var.value, batch_var * (n / (n - 1)))
        return self._normalise(x, batch_mean, batch_var, scale, bias)

    def _moments(
        self, x: Array, shift: Vector
    ) -> tuple[Float[Array, " d"], Float[Array, " d"], int]:
        """Mean, variance and number of values per channel.

        One pass over x, E[(x - s)^2] - E[x - s]^2; with the running mean as the shift s, no terms
        of size mean^2 have to cancel.
        """
        n, shift = x.size // x.shape[-1], jnp.asarray(shift)
        centred = x.astype(jnp.float32) - _last(shift, x)
        axes = tuple(range(x.ndim - 1))
        first, second = jnp.mean(centred, axes), jnp.mean(jnp.square(centred), axes)
        if self.axis_name is not None:
            first, second = jax.lax.pmean((first, second), self.axis_name)
            n *= jax.lax.axis_size(self.axis_name)
        check_values(n, x.shape)
        return shift + first, jnp.maximum(second - jnp.square(first), 0), n

    def _normalise(self, x: Array, mean: Vector, var: Vector, scale: Vector, bias: Vector) -> Array:
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        centred = x.astype(jnp.float32) - _last(mean, x)
        return (centred * _last(factor, x) + _last(bias, x)).astype(self.dtype)


def _last(vector: Vector, x: Array) -> Array:
    """A vector [d] reshaped to the rank of x [..., d], for broadcasting."""
    return jnp.asarray(vector).reshape((1,) * (x.ndim - 1) + vector.shape)
