"""A network that trains and is evaluated on the integer grids of its deployment."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd.quantize import grid, rewrite
from kd.trace import Constant, constants, trace
from kd.types import Outputs, PyTree

COLLECTION = "quant_stats"
"""Collection of a quantized student's variables: the ranges of its activations so far."""


class Quantized(nn.Module):
    """`net` with activations and weights rounded to eight bits; its parameters keep their names.

    For fine-tuning: it starts from a trained network. BatchNorm keeps its statistics and is folded
    into its convolution's weights, dropout is off. In training the range of each activation follows
    the smallest and largest values of the batches; the range of the image (the first) covers all
    values so far.

    Attributes:
      net: the network.
      momentum: weight of the old range at each update.
      axis_name: under `jax.pmap`, the mapped axis over which a batch is spread.

    Variables: those of `net`, and in `quant_stats` the `ranges` float32 [places, 2] and `updates`
    int [], the number of updates of the ranges.
    """

    net: nn.Module
    momentum: float = 0.99
    axis_name: str | None = None

    def setup(self) -> None:
        nn.share_scope(self, self.net)

    def __call__(self, image: Float[Array, "b ..."], train: bool = False) -> Outputs:
        """Outputs of `net`, rounded.

        Raises:
          InputError: `net` has an operation that integer kernels lack.
        """
        if self.is_initializing():
            self.net(image, train=False)
        variables = {k: v for k, v in self.variables.items() if k != COLLECTION}
        traced = trace(_evaluated(self.net), variables, image)
        known = constants(traced, variables)
        before = self.get_variable(COLLECTION, "ranges")
        updates = self.get_variable(COLLECTION, "updates", jnp.zeros((), jnp.int32))
        rounding = _ObservedRanges(self, before, updates, train)
        outputs = rewrite.rounded(traced, known, image, rounding)
        if self.is_mutable_collection(COLLECTION):
            self.put_variable(COLLECTION, "ranges", jnp.stack(rounding.ranges))
            self.put_variable(COLLECTION, "updates", updates + train)
        return outputs


def _evaluated(net: nn.Module):
    """`net` in evaluation mode, as a function of its variables and an image."""
    alone = net.clone(parent=None, name=None)
    return lambda variables, image: alone.apply(variables, image, train=False)


class _ObservedRanges:
    """Rounding to ranges that follow the batches in training and are fixed in evaluation."""

    def __init__(self, module: Quantized, before: Array | None, updates: Array, train: bool):
        self._momentum, self._axis_name = module.momentum, module.axis_name
        self._before, self._updates, self._train = before, updates, train
        self.ranges: list[Array] = []

    def activation(self, x: Array, place: int | None) -> tuple[Array, int]:
        if place is None:
            place = len(self.ranges)
            self.ranges.append(self._range(jax.lax.stop_gradient(x), place))
        return grid.round_activation(x, self.ranges[place]), place

    def weight(self, kernel: Constant) -> Array:
        return grid.round_weight(kernel)

    def _range(self, x: Array, place: int) -> Float[Array, "2"]:
        if self._before is None:  # the network is being initialised: no range yet
            return jnp.array([-1.0, 1.0])
        if not self._train:
            return self._before[place]
        low, high = jnp.min(x), jnp.max(x)
        if self._axis_name is not None:
            low = jax.lax.pmin(low, self._axis_name)
            high = jax.lax.pmax(high, self._axis_name)
        batch = jnp.stack([low, high])
        old = self._before[place]
        if place == 0:
            new = jnp.stack([jnp.minimum(old[0], low), jnp.maximum(old[1], high)])
        else:
            new = self._momentum * old + (1 - self._momentum) * batch
        return jnp.where(self._updates == 0, batch, new)


def ranges(variables: PyTree) -> Float[Array | np.ndarray, "p 2"]:
    """A trained student's ranges of activations in the order of computation, the image first."""
    return variables[COLLECTION]["ranges"]
