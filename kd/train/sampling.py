"""The order of examples in which each class comes equally often: `config.data.sampling`.

An epoch has as many examples as always, n. With `balanced` each of the c classes that have training
images gets n / c of them, rounded down or up (which classes, is drawn for each epoch). Within a
class the images come in rounds: each round is all images of the class in a random order, and what
is left of the last round at the end of the epoch is left out. So in an epoch the images of one
class come equally often, up to one, and a large class shows a part of its images.

Like the usual order it is a function of the seed and the epoch alone: a resumed run equals an
uninterrupted one, and devices that share a batch see the same order. Of streamed pictures the order
is computed by NumPy, where the pictures are decoded.

`config.repeats = r` (repeated augmentation: Hoffer, Ben-Nun, Hubara, Giladi, Hoefler, Soudry.
Augment Your Batch. CVPR 2020. https://arxiv.org/abs/1901.09335, section 3; DeiT takes 3) shows each
image r times in a row, each time augmented anew. An epoch is as long as always, so that it has an
r-th of the images, rounded up: the first ones of the usual order.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PRNGKeyArray

from kd.config import ConfigDict
from kd.data.base import UNKNOWN, Dataset
from kd.data.pictures import Pictures
from kd.errors import InputError, unknown

SHUFFLED, BALANCED = "shuffled", "balanced"

KEY = "config.data.sampling"


class Rounds(NamedTuple):
    """The rounds in which the images of each class come.

    Attributes:
      image: int32 [m], index of an image in the training set, by class and round.
      group: int32 [m], the number of its round, counted over all classes.
      start: int32 [c], the first entry of each class.
      n: examples in an epoch.
    """

    image: Int[np.ndarray, " m"]
    group: Int[np.ndarray, " m"]
    start: Int[np.ndarray, " c"]
    n: int


def rounds(label: Int[np.ndarray, " n"]) -> Rounds:
    """The rounds for labels, all of which are known; m is at most 2 n + c."""
    members = [np.flatnonzero(label == k) for k in np.unique(label)]
    most = -(-len(label) // len(members))  # images of a class in an epoch
    counts = [-(-most // len(images)) for images in members]
    group = np.repeat(
        np.arange(sum(counts)), np.repeat([len(images) for images in members], counts)
    )
    sizes = [len(images) * count for images, count in zip(members, counts, strict=True)]
    return Rounds(
        np.concatenate([np.tile(m, k) for m, k in zip(members, counts, strict=True)]).astype("i4"),
        group.astype(np.int32),
        (np.cumsum(sizes) - sizes).astype(np.int32),
        len(label),
    )


def make_order(label: Int[np.ndarray, " n"]) -> Callable[[Array, Array], Int[Array, "s n"]]:
    """`order(keys [s], epoch) -> int32 [s, n]`: each seed's balanced order in that epoch."""
    image, group, start, n = rounds(label)

    def order(keys: Key[Array, " s"], epoch: Array) -> Int[Array, "s n"]:
        def one(key: PRNGKeyArray) -> Array:
            # Domain separation: no other use of the seed's key draws the same numbers.
            key = jax.random.fold_in(jax.random.fold_in(key, 0xBA1), epoch)
            of_rounds, of_classes, of_places = jax.random.split(key, 3)
            bits = jax.random.bits(of_rounds, group.shape, jnp.uint32)
            drawn = jax.lax.sort((jnp.asarray(group), bits, jnp.asarray(image)), num_keys=2)[2]
            classes = jax.random.permutation(of_classes, len(start))
            place = jnp.arange(n)
            first = jnp.asarray(start)[classes[place % len(start)]]
            return jax.random.permutation(of_places, drawn[first + place // len(start)])

        return jax.vmap(one)(keys)

    return order


@lru_cache(maxsize=32)
def streamed_order(sampler: "Streamed", seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    """The order of streamed pictures in an epoch, int32 [n].

    It sorts raw numbers of a bit generator, whose stream never changes (NEP 19).
    """
    image, group, start, n = sampler.rounds
    key = np.array([seed, 2**63 + 2**62 + epoch], np.uint64)  # `streaming.shuffled` has 2**63
    raw = np.random.Philox(key=key).random_raw(len(image) + len(start) + n)
    of_rounds, of_classes, of_places = np.split(raw, [len(image), len(image) + len(start)])
    drawn = image[np.lexsort((of_rounds, group))]
    classes = np.argsort(of_classes, kind="stable")
    place = np.arange(n)
    order = drawn[start[classes[place % len(start)]] + place // len(start)]
    return order[np.argsort(of_places, kind="stable")]


class Streamed:
    """The balanced order of streamed pictures, for the processes that decode them."""

    def __init__(self, label: Int[np.ndarray, " n"]):
        self.rounds = rounds(label)

    def __call__(self, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
        """The order in an epoch, int32 [n]."""
        return streamed_order(self, seed, epoch)


def repeated(order: Callable[..., Any], repeats: int) -> Callable[..., Any]:
    """`order` of arrays [..., n], each of whose first n / r examples comes r = `repeats` times."""
    return Repeated(order, repeats) if repeats > 1 else order


class Repeated:
    """See `repeated`; a class, so that the processes that decode pictures get it."""

    def __init__(self, order: Callable[..., Any], repeats: int):
        self._order, self._repeats = order, repeats

    def __call__(self, *arguments: Any) -> Any:
        """The order in an epoch, of NumPy or of jax."""
        order = self._order(*arguments)
        n = order.shape[-1]
        return order[..., np.arange(n) // self._repeats]


def check(
    sampling: str, config: ConfigDict, dataset: Dataset, needs: Mapping[str, tuple[str, ...]]
) -> None:
    """Raises InputError for an unknown kind of sampling, or one that the run cannot have.

    Args:
      sampling: of the run.
      config: of the run.
      dataset: of the run.
      needs: what each term of the objective declares.
    """
    if sampling not in (SHUFFLED, BALANCED):
        raise unknown(f"value of {KEY}", str(sampling), (SHUFFLED, BALANCED))
    balanced = sampling == BALANCED
    if not balanced and config.repeats == 1:
        return
    label = dataset.train.label
    what = f"{KEY} = {BALANCED!r}" if balanced else f"config.repeats = {config.repeats}"
    if balanced and config.repeats > 1:
        raise InputError(
            f"{what} and config.repeats = {config.repeats}: an epoch that repeats images has not "
            "all classes equally often. Leave one of the two out."
        )
    changed = config.augment or config.mix or isinstance(dataset.train.image, Pictures)
    if not balanced and not changed:
        raise InputError(
            f"{what} shows each image several times in a batch, each time augmented anew, and "
            "config.augment is empty: they would be the same. Name an augmentation, or leave it "
            "out."
        )
    if balanced and (missing := int((label == UNKNOWN).sum())):
        raise InputError(
            f"{what} needs the label of every training image, and {missing:,} of the "
            f"{len(label):,} have none. Leave it out, or keep the labelled images alone: "
            "config.data.unlabelled = 'drop'."
        )
    for term, need in needs.items():
        if "batch.index" in need:
            raise InputError(
                f"{what} shows an image several times in a batch, and config.objective.{term} "
                "remembers each image by its index, which must be in a batch once. Leave one of "
                "the two out, or weigh the classes (weighted_ce.WeightedCE)."
            )
    changes = config.augment or isinstance(dataset.train.image, Pictures)
    if config.teacher.cache_window and changes:
        raise InputError(
            f"{what} shows an image several times in an epoch, each time augmented anew, so views "
            f"do not repeat after config.teacher.cache_window = {config.teacher.cache_window} "
            "epochs, and none can be cached. Leave the window and the cache out, or the "
            "augmentation."
        )
