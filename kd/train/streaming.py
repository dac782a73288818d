"""Streamed pictures: batches decoded by Grain's worker processes, resumable at any step.

The content of a batch is a function of the step alone, so the pipeline's only state is the step: a
resumed run opens it at its own. An element of the pipeline is a batch, decoded by one worker. When
several processes run one program, each decodes only the part of a batch that its devices use.
"""

import dataclasses
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, Sharding
from jaxtyping import Array, Int, UInt8

from kd import signals
from kd.data.pictures import Pictures
from kd.devices.mesh import to_devices
from kd.errors import RunError
from kd.train.plan import Plan


@lru_cache(maxsize=32)
def shuffled(seed: int, epoch: int, n: int) -> Int[np.ndarray, " n"]:
    """The order of the examples in an epoch, int32 [n].

    It sorts raw numbers of a bit generator, whose stream never changes (NEP 19).
    """
    key = np.array([seed, 2**63 + epoch], np.uint64)
    raw = np.random.Philox(key=key).random_raw(n)
    return np.argsort(raw, kind="stable").astype(np.int32)


type Ranges = tuple[tuple[int, int], ...]
"""Ranges (start, stop) of the examples of a batch, in order."""


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """Random access to the training batches of a run by step, uint8 [s, b, h, w, 3].

    Attributes:
      pictures: the split.
      seeds: s.
      plan: of the run.
      window: epochs after which the crops repeat; 0: never.
      local: batch size -> the ranges of such a batch that this process decodes; default: all.
      order: (seed, epoch) -> the order of the examples, which may have an example several times;
        None: `shuffled`.
    """

    pictures: Pictures
    seeds: tuple[int, ...]
    plan: Plan
    window: int = 0
    local: Mapping[int, Ranges] = dataclasses.field(default_factory=dict)
    order: Callable[[int, int], Int[np.ndarray, " n"]] | None = None

    def order_of(self, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
        """The order of the examples of a seed in an epoch, int32 [n]."""
        return (self.order or self._shuffled)(seed, epoch)

    def _shuffled(self, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
        return shuffled(seed, epoch, len(self.pictures))

    def __len__(self) -> int:
        return self.plan.steps

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "s b h w 3"]:
        epoch, place = divmod(index, self.plan.steps_per_epoch)
        first = place * self.plan.batch_size
        batch = []
        for seed in self.seeds:
            order = self.order_of(seed, epoch)
            size = len(order[first : first + self.plan.batch_size])
            ranges = self.local.get(size, ((0, size),))
            place = first + np.concatenate([np.arange(start, stop) for start, stop in ranges])
            view = epoch % self.window if self.window else epoch
            position = None if self.order is None else place
            batch.append(self.pictures.cropped(order[place], seed, view, position))
        return np.stack(batch)


@dataclasses.dataclass(frozen=True)
class EvaluationBatches:
    """Random access to the evaluated images, uint8 [size, h, w, 3]; the last batch is padded."""

    pictures: Pictures
    size: int

    def __len__(self) -> int:
        return -(-len(self.pictures) // self.size)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "b h w 3"]:
        first = index * self.size
        last = min(first + self.size, len(self.pictures))
        images = self.pictures.centered(range(first, last))
        padding = np.repeat(images[-1:], self.size - len(images), axis=0)
        return np.concatenate([images, padding])


class Batches:
    """Streamed training images and their order, for `kd.train.loop`.

    Args:
      pictures: the split.
      seeds: of the students.
      plan: of the run.
      replicated: sharding that puts an array on every device.
      split: batch size -> sharding of the pictures [s, b, h, w, 3] of such a batch.
      window: see `TrainingBatches`, as for `order`.
      order: likewise.
    """

    def __init__(
        self,
        pictures: Pictures,
        seeds: Sequence[int],
        plan: Plan,
        replicated: Sharding,
        split: Callable[[int], NamedSharding],
        window: int = 0,
        order: Callable[[int, int], Int[np.ndarray, " n"]] | None = None,
    ):
        self._split = {size: split(size) for size in plan.batch_sizes}
        shape = lambda size: (len(seeds), size, *pictures.shape[1:])
        local = {n: _local_ranges(sharding, shape(n)) for n, sharding in self._split.items()}
        self._batches = TrainingBatches(pictures, tuple(seeds), plan, window, local, order)
        self._replicated = replicated
        self._iterator: Any = None
        self._next = 0

    def order(self, epoch: Array) -> Int[Array, "s n"]:
        """Each seed's order of the examples in an epoch."""
        orders = [self._batches.order_of(seed, int(epoch)) for seed in self._batches.seeds]
        return to_devices(np.stack(orders), self._replicated)

    def pictures(self, epoch: int, first: int) -> UInt8[Array, "s b h w 3"]:
        """The batch of every seed that starts at position `first` of the epoch's order.

        Raises RunError for a damaged picture.
        """
        plan = self._batches.plan
        step = epoch * plan.steps_per_epoch + first // plan.batch_size
        if self._iterator is None or step != self._next:
            self.close()
            self._iterator = _pipeline(self._batches, step)
        batch = next(self._iterator)
        self._next = step + 1
        size = min(plan.batch_size, len(self._batches.pictures) - first)
        return _assemble(batch, self._batches.local[size], self._split[size], size)

    def close(self) -> None:
        """Stops the workers."""
        if self._iterator is not None:
            self._iterator.close()
        self._iterator = None


class Evaluated:
    """Streamed images of a split, for `kd.predict.make_logits`."""

    def __init__(self, pictures: Pictures, replicated: Sharding):
        self._pictures, self._replicated = pictures, replicated
        self.shape = pictures.shape

    def batches(self, size: int) -> Iterator[UInt8[Array, "b h w 3"]]:
        """All images, `size` at a time, the last batch padded with the last image.

        Raises RunError for a damaged picture.
        """
        pipeline = _pipeline(EvaluationBatches(self._pictures, size), 0)
        try:
            for batch in pipeline:
                yield to_devices(batch, self._replicated)
        finally:
            pipeline.close()


def _local_ranges(sharding: NamedSharding, shape: tuple[int, ...]) -> Ranges:
    """The ranges of axis 1 that devices of this process hold."""
    indices = sharding.addressable_devices_indices_map(shape).values()
    axis = [index[1].indices(shape[1]) for index in indices if index is not None]
    return tuple(sorted({(first, last) for first, last, _ in axis}))


def _assemble(
    decoded: UInt8[np.ndarray, "s o h w 3"], ranges: Ranges, sharding: NamedSharding, size: int
) -> UInt8[Array, "s b h w 3"]:
    """The global batch, from the ranges that this process has decoded."""
    offsets = np.cumsum([0, *(stop - start for start, stop in ranges)])
    offset_of = dict(zip(ranges, offsets, strict=False))

    def shard(index: tuple[slice, ...] | None) -> np.ndarray:
        start, stop, _ = (index or (slice(None),) * 2)[1].indices(size)
        offset = offset_of[start, stop]
        return decoded[:, offset : offset + stop - start]

    shape = (decoded.shape[0], size, *decoded.shape[2:])
    return jax.make_array_from_callback(shape, sharding, shard)


def _pipeline(batches: TrainingBatches | EvaluationBatches, start: int) -> Any:
    """Iterator over batches from `start`, decoded ahead by worker processes, or by threads."""
    import grain.python as grain

    workers = batches.pictures.workers
    remaining: Any = grain.MapDataset.source(batches)[start:]  # pyrefly: ignore
    threads = grain.ReadOptions(num_threads=1 if workers else 2, prefetch_buffer_size=2)
    pipeline = remaining.to_iter_dataset(threads)
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # Grain reads absl flags, which kd does not parse
            flags.FLAGS.mark_as_parsed()
        processes = grain.MultiprocessingOptions(
            num_workers=min(workers, len(remaining)), per_worker_buffer_size=2
        )
        pipeline = pipeline.mp_prefetch(processes, _ignore_signals)
    return _OneLineErrors(iter(pipeline))


def _ignore_signals(index: int, count: int) -> None:
    """In a worker: Ctrl-C reaches all processes of a terminal, and only the main one decides."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


class _OneLineErrors:
    """An iterator whose errors become a RunError of one line."""

    def __init__(self, inner: Any):
        self._inner = inner

    def __iter__(self) -> "_OneLineErrors":
        return self

    def __next__(self) -> Any:
        try:
            return next(self._inner)
        except StopIteration:
            raise
        except Exception as error:
            if signals.requested():  # workers that got the signal, too
                signals.stop("stopped; the last checkpoint is kept")
            lines = [line for line in str(error).splitlines() if "decoded" in line]
            reason = lines[-1] if lines else f"{type(error).__name__}: {error}"
            raise RunError(f"the input pipeline failed: {reason.strip()}") from error

    def close(self) -> None:
        self._inner.close()
