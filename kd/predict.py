"""Logits of many networks on a whole split, a batch at a time."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd.devices.vectorize import over
from kd.types import Batch, PyTree


def make_logits(
    evaluate: Callable[[PyTree, Batch], Any],
    batch_size: int,
    how: str = "vmap",
    place: Any = None,
    spread: Callable[[Callable], Callable] | None = None,
) -> Callable[[PyTree, Any], Float[np.ndarray, "s n c"]]:
    """`logits(variables, images) -> [s, n, c]` of stacked networks on a whole split, an array or
    `kd.train.streaming.Evaluated`.

    Of stacked cohorts of k peers each it is [s * k, n, c]: those of the first cohort, then those of
    the second, ...

    Images are taken `batch_size` at a time by one program; the last batch is filled up with the
    last image, which in evaluation mode touches no other example's result, and the filling is cut
    off.

    Args:
      evaluate: `evaluate(variables, batch) -> Outputs` of one network.
      batch_size: images at a time.
      how: over networks, see `kd.devices.vectorize.over`.
      place: sharding of the logits before they are fetched; None leaves it to the compiler.
      spread: where the networks are spread over devices, see `kd.devices.mesh.spread`.
    """
    logits_of = lambda weights, _, examples: evaluate(weights, examples).logits
    each = over(logits_of, how, (0, None, None))
    each = spread(each) if spread else each

    @partial(jax.jit, static_argnums=3, out_shardings=place)
    def batch(variables: PyTree, images: Array, first: Array, size: int) -> Array:
        index = jnp.minimum(first + jnp.arange(size), images.shape[0] - 1)
        epoch = jnp.zeros((), jnp.int32)
        examples = {"image": images[index], "index": index, "epoch": epoch}
        return each(variables, (), examples)

    def logits(variables: PyTree, images: Any) -> Float[np.ndarray, "s n c"]:
        n = images.shape[0]
        size = min(batch_size, n)
        if not isinstance(images, Array):
            # Each is fetched before the next is sent, so that the device holds one batch of images.
            parts = [
                jax.device_get(batch(variables, filled, jnp.int32(0), size))
                for filled in images.batches(size)
            ]
            return _networks(parts, n)
        starts = [jnp.int32(first) for first in range(0, n, size)]
        parts = [batch(variables, images, first, size) for first in starts]
        return _networks(jax.device_get(parts), n)

    return logits


def _networks(parts: list[Float[np.ndarray, "s *k b c"]], n: int) -> Float[np.ndarray, "_ n c"]:
    """The batches of all images joined, the filling cut off, and the peers of cohorts one after the
    other.
    """
    whole = np.concatenate(parts, axis=-2)[..., :n, :]
    return whole.reshape(-1, *whole.shape[-2:])
