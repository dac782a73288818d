"""Logits of trained networks: stacked networks of one architecture on any images."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kd import signals
from kd.data.augment import make_normalize
from kd.devices import options, precision
from kd.devices.vectorize import map_stacked, tree_index
from kd.errors import InputError
from kd.step import make_eval
from kd.types import Batch, PyTree


@dataclasses.dataclass(frozen=True, eq=False)
class Networks:
    """Trained networks of one architecture, such as the seeds of a run: an ensemble.

    Attributes:
      model: the architecture, `model.apply(variables, image, train=False) -> Outputs`.
      variables: of all networks, stacked, [m, ...].
      shape: of one example, such as (8, 8, 1).
      num_classes: c.
      mean, std: per channel, by which images are normalised (uint8 images are scaled by 1 / 255
        first).
      class_names: in the order of the labels, or empty.
      how: vmap, map or unroll over the networks; see `kd.devices.vectorize.map_stacked`.
      policy: precision of the training, see `kd.devices.precision`.
    """

    model: nn.Module
    variables: PyTree
    shape: tuple[int, ...]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    how: str = "vmap"
    policy: str = "default"

    def __len__(self) -> int:
        return jax.tree.leaves(self.variables)[0].shape[0]

    def __getitem__(self, index: int | slice) -> "Networks":
        """One of the networks, or some: still stacked, [1, ...] or [k, ...]."""
        chosen = np.arange(len(self))[index]
        return dataclasses.replace(
            self, variables=tree_index(self.variables, np.atleast_1d(chosen))
        )

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        kind, classes = type(self.model).__name__, self.num_classes
        return f"{type(self).__name__}({len(self)} {kind}, {shape} to {classes} classes)"

    def logits(self, images: Any, batch_size: int = 1000) -> Float[np.ndarray, "m n c"]:
        """Logits of every network.

        Args:
          images: raw images [n, ...] as in the training data: uint8 pixels, or floats.
          batch_size: images at a time; memory and speed, not results.

        Raises:
          InputError: images of another shape.
        """
        images = jnp.asarray(images)
        if images.shape[1:] != self.shape or not len(images):
            raise InputError(
                f"images are {list(images.shape)}; expected one or more of shape "
                f"{list(self.shape)}: [n, {', '.join(map(str, self.shape))}]."
            )
        logits = evaluator(self.model, self.mean, self.std, self.policy, batch_size, self.how)
        return logits(self.variables, images)

    def accuracy(self, images: Any, label: Int[Any, " n"]) -> Float[np.ndarray, " m"]:
        """Accuracy of every network, between 0 and 1."""
        return np.mean(self.logits(images).argmax(-1) == np.asarray(label), axis=-1)


def evaluator(
    model: nn.Module,
    mean: Sequence[float],
    std: Sequence[float],
    policy: str,
    batch_size: int,
    how: str,
    place: Any = None,
) -> Callable[[PyTree, Any], Float[np.ndarray, "s n c"]]:
    """`make_logits` of networks of one architecture: the same function for equal arguments.

    So a program is traced and compiled once in a process, for a teacher and the students that learn
    from it, for runs of one network and for calls of `Networks.logits`. The arguments are those of
    `Networks` and `make_logits`.
    """
    settings = (model, tuple(mean), tuple(std), policy, batch_size, how, place)
    try:
        return _evaluator(*settings)
    except TypeError:  # a network with a field that has no hash
        return _evaluator.__wrapped__(*settings)


@lru_cache(maxsize=16)
def _evaluator(
    model: nn.Module,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    policy: str,
    batch_size: int,
    how: str,
    place: Any,
) -> Callable[[PyTree, Any], Float[np.ndarray, "s n c"]]:
    evaluate = precision.evaluation(make_eval(model, make_normalize(mean, std)), policy)
    return make_logits(evaluate, batch_size, how, place)


def make_logits(
    evaluate: Callable[[PyTree, Batch], Any],
    batch_size: int,
    how: str = "vmap",
    place: Any = None,
    spread: Callable[[Callable], Callable] | None = None,
) -> Callable[[PyTree, Any], Float[np.ndarray, "s n c"]]:
    """`logits(variables, images) -> [s, n, c]` of stacked networks on all images of a split.

    Images are an array, or a `kd.train.streaming.Evaluated`. With stacked cohorts of k peers the
    logits are [s * k, n, c]: the peers of the first cohort, then those of the second, ...

    One program evaluates `batch_size` images at a time. The last batch is padded with the last
    image, which changes no other result in evaluation mode; the padding is cut off.

    Args:
      evaluate: `evaluate(variables, batch) -> Outputs` of one network.
      batch_size: images at a time.
      how: over networks, see `kd.devices.vectorize.map_stacked`.
      place: sharding of the logits before they are fetched; None leaves it to the compiler.
      spread: distributes the networks over devices, see `kd.devices.mesh.shard_members`.
    """
    logits_of = lambda weights, _, batch: evaluate(weights, batch).logits
    evaluate_all = map_stacked(logits_of, how, (0, None, None))
    evaluate_all = spread(evaluate_all) if spread else evaluate_all

    @partial(options.jit, static_argnums=3, out_shardings=place)
    def batch(variables: PyTree, images: Array, first: Array, size: int) -> Array:
        index = jnp.minimum(first + jnp.arange(size), images.shape[0] - 1)
        epoch = jnp.zeros((), jnp.int32)
        examples = {"image": images[index], "index": index, "epoch": epoch}
        return evaluate_all(variables, (), examples)

    def logits(variables: PyTree, images: Any) -> Float[np.ndarray, "s n c"]:
        n = images.shape[0]
        size = min(batch_size, n)
        if not isinstance(images, Array):
            # Each batch is fetched before the next is sent: the device holds one batch of images.
            parts = []
            for padded in images.batches(size):
                parts.append(jax.device_get(batch(variables, padded, jnp.int32(0), size)))
                signals.poll()
            return _join(parts, n)
        parts = []
        for first in range(0, n, size):
            parts.append(batch(variables, images, jnp.int32(first), size))
            signals.poll()
        return _join(jax.device_get(parts), n)

    return logits


def _join(batches: list[Float[np.ndarray, "s *k b c"]], n: int) -> Float[np.ndarray, "_ n c"]:
    """The batches of all images in one array, without the padding; peers of cohorts flattened."""
    joined = np.concatenate(batches, axis=-2)[..., :n, :]
    return joined.reshape(-1, *joined.shape[-2:])
