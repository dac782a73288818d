"""Batches of pictures that are decoded as they are needed, by processes of Grain's, in an order
that a resume cannot change.

What a batch holds is a function of the step alone, so that the state of this pipeline is the step:
it is opened wherever a run goes on. An element of the pipeline is a batch, which one of Grain's
processes decodes; where several processes run one program, each of them decodes what its own
devices see of it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, Sharding
from jaxtyping import Array, Int, UInt8

from kd.data.pictures import Pictures
from kd.devices.mesh import to_devices
from kd.errors import RunError
from kd.train.plan import Plan


@lru_cache(maxsize=32)
def shuffled(seed: int, epoch: int, n: int) -> Int[np.ndarray, " n"]:
    """The order of the examples in an epoch, int32. Raw numbers of a bit generator, whose stream
    never changes (NEP 19).
    """
    key = np.array([seed, 2**63 + epoch], np.uint64)
    raw = np.random.Philox(key=key).random_raw(n)
    return np.argsort(raw, kind="stable").astype(np.int32)


type Stretches = tuple[tuple[int, int], ...]
"""Examples of a batch, (first, one behind the last) of each stretch, in their order."""


@dataclasses.dataclass(frozen=True)
class Steps:
    """The batches of a run by their step, uint8 [s, b, h, w, 3]; random access.

    Attributes:
      pictures: the split.
      seeds: s.
      plan: of the run.
      window: epochs after which what is cropped repeats; 0: never.
      seen: batch size -> what this process sees of such a batch, b examples; where it is not named,
        all.
    """

    pictures: Pictures
    seeds: tuple[int, ...]
    plan: Plan
    window: int = 0
    seen: Mapping[int, Stretches] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return self.plan.steps

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "s b h w 3"]:
        epoch, place = divmod(index, self.plan.steps_per_epoch)
        first = place * self.plan.batch_size
        batch = []
        for seed in self.seeds:
            order = shuffled(seed, epoch, len(self.pictures))
            chosen = order[first : first + self.plan.batch_size]
            stretches = self.seen.get(len(chosen), ((0, len(chosen)),))
            chosen = np.concatenate([chosen[a:b] for a, b in stretches])
            view = epoch % self.window if self.window else epoch
            batch.append(self.pictures.cropped(chosen, seed, view))
        return np.stack(batch)


@dataclasses.dataclass(frozen=True)
class Parts:
    """A split, `size` images at a time as evaluation sees them, uint8 [size, h, w, 3], the last
    filled up with the last image.
    """

    pictures: Pictures
    size: int

    def __len__(self) -> int:
        return -(-len(self.pictures) // self.size)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "b h w 3"]:
        first = index * self.size
        last = min(first + self.size, len(self.pictures))
        images = self.pictures.centered(range(first, last))
        filling = np.repeat(images[-1:], self.size - len(images), axis=0)
        return np.concatenate([images, filling])


class Batches:
    """Training images for the loop, and the order in which they come.

    Args:
      pictures: the split.
      seeds: of the students.
      plan: of the run.
      place: of what is whole on each device.
      split: batch size -> where pictures [s, b, h, w, 3] of such a batch go.
      window: see `Steps`.
    """

    def __init__(
        self,
        pictures: Pictures,
        seeds: Sequence[int],
        plan: Plan,
        place: Sharding,
        split: Callable[[int], NamedSharding],
        window: int = 0,
    ):
        self._split = {size: split(size) for size in plan.batch_sizes}
        shape = lambda size: (len(seeds), size, *pictures.shape[1:])
        seen = {n: _seen(where, shape(n)) for n, where in self._split.items()}
        self._steps = Steps(pictures, tuple(seeds), plan, window, seen)
        self._place = place
        self._iterator: Any = None
        self._next = 0

    def order(self, epoch: Array) -> Int[Array, "s n"]:
        """Each seed's order of the examples in that epoch."""
        steps = self._steps
        n = len(steps.pictures)
        orders = [shuffled(seed, int(epoch), n) for seed in steps.seeds]
        return to_devices(np.stack(orders), self._place)

    def pictures(self, epoch: int, first: int) -> UInt8[Array, "s b h w 3"]:
        """What each seed's student sees at place `first` of the epoch's order. Raises RunError for
        a damaged picture.
        """
        plan = self._steps.plan
        step = epoch * plan.steps_per_epoch + first // plan.batch_size
        if self._iterator is None or step != self._next:
            self.close()
            self._iterator = _pipeline(self._steps, step)
        batch = next(self._iterator)
        self._next = step + 1
        size = min(plan.batch_size, len(self._steps.pictures) - first)
        return _joined(batch, self._steps.seen[size], self._split[size], size)

    def close(self) -> None:
        """Ends the processes."""
        if self._iterator is not None:
            self._iterator.close()
        self._iterator = None


class Evaluated:
    """A split's images for `kd.train.program.make_logits`."""

    def __init__(self, pictures: Pictures, place: Sharding):
        self._pictures, self._place = pictures, place
        self.shape = pictures.shape

    def batches(self, size: int) -> Iterator[UInt8[Array, "b h w 3"]]:
        """All images, `size` at a time, the last batch filled up with the last image. Raises
        RunError as `Batches.pictures`.
        """
        parts = Parts(self._pictures, size)
        pipeline = _pipeline(parts, 0)
        try:
            for batch in pipeline:
                yield to_devices(batch, self._place)
        finally:
            pipeline.close()


def _seen(where: NamedSharding, shape: tuple[int, ...]) -> Stretches:
    """What devices of this process see of axis 1."""
    indices = where.addressable_devices_indices_map(shape).values()
    axis = [index[1].indices(shape[1]) for index in indices if index is not None]
    return tuple(sorted({(first, last) for first, last, _ in axis}))


def _joined(
    own: UInt8[np.ndarray, "s o h w 3"], stretches: Stretches, where: NamedSharding, size: int
) -> UInt8[Array, "s b h w 3"]:
    """The batch of all processes, from the stretches that this one has decoded."""
    starts = np.cumsum([0, *(last - first for first, last in stretches)])
    at = dict(zip(stretches, starts, strict=False))

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        first, last, _ = (index or (slice(None),) * 2)[1].indices(size)
        start = at[first, last]
        return own[:, start : start + last - first]

    shape = (own.shape[0], size, *own.shape[2:])
    return jax.make_array_from_callback(shape, where, part)


def _pipeline(elements: Steps | Parts, start: int) -> Any:
    """Iterator over elements from `start`, decoded ahead by as many processes as the pictures ask
    for, else by threads.
    """
    import grain.python as grain

    workers = elements.pictures.workers
    left: Any = grain.MapDataset.source(elements)[start:]  # pyrefly: ignore
    threads = grain.ReadOptions(num_threads=1 if workers else 2, prefetch_buffer_size=2)
    pipeline = left.to_iter_dataset(threads)
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # Grain asks its flags; we have no command line of absl's
            flags.FLAGS.mark_as_parsed()
        processes = grain.MultiprocessingOptions(
            num_workers=min(workers, len(left)), per_worker_buffer_size=2
        )
        pipeline = pipeline.mp_prefetch(processes)
    return _Told(iter(pipeline))


class _Told:
    """The iterator, whose errors are a RunError of one line."""

    def __init__(self, inner: Any):
        self._inner = inner

    def __iter__(self) -> "_Told":
        return self

    def __next__(self) -> Any:
        try:
            return next(self._inner)
        except StopIteration:
            raise
        except Exception as error:
            lines = [line for line in str(error).splitlines() if "decoded" in line]
            told = lines[-1] if lines else f"{type(error).__name__}: {error}"
            raise RunError(f"the input pipeline failed: {told.strip()}") from error

    def close(self) -> None:
        self._inner.close()
