"""The grid of dispatches of a run: epochs, batches, and which steps share a dispatch."""

import dataclasses
from collections.abc import Iterator

from kd.accumulation import sizes
from kd.errors import InputError
from kd.ranges import LARGEST_INT


@dataclasses.dataclass(frozen=True)
class Call:
    """One dispatch: `count` steps of `batch_size` examples from position `start` of the epoch."""

    epoch: int
    start: int
    count: int
    batch_size: int
    step: int  # steps before this dispatch
    ends_epoch: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """The dispatches of a run, a function of its config alone, so that a resumed run continues."""

    examples: int
    batch_size: int
    epochs: int
    steps_per_call: int
    drop_last: bool = False
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise InputError(
                f"config.accumulate = {self.accumulate} does not divide config.batch_size = "
                f"{self.batch_size}, the examples of an update. Expected a divisor: for "
                f"{self.accumulate} parts of {-(-self.batch_size // self.accumulate)} examples, "
                f"config.batch_size = "
                f"{-(-self.batch_size // self.accumulate) * self.accumulate}."
            )
        if not self.steps_per_epoch:
            raise InputError(
                f"a batch of {self.batch_size} with drop_last leaves nothing of {self.examples} "
                "examples."
            )
        if self.steps > LARGEST_INT:
            raise InputError(
                f"config.epochs: {self.epochs:,} epochs of {self.steps_per_epoch:,} updates are "
                f"more than the {LARGEST_INT:,} updates that a run can count."
            )

    @property
    def full(self) -> int:
        """Full batches in an epoch."""
        return self.examples // self.batch_size

    @property
    def tail(self) -> int:
        """Examples in the short last batch, or 0."""
        return 0 if self.drop_last else self.examples % self.batch_size

    @property
    def examples_per_epoch(self) -> int:
        return self.full * self.batch_size + self.tail

    @property
    def steps_per_epoch(self) -> int:
        return self.full + bool(self.tail)

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return self.epochs * self.steps_per_epoch

    @property
    def batch_sizes(self) -> list[int]:
        """The batch sizes that occur, each compiled to one program."""
        return [size for size in (self.batch_size * bool(self.full), self.tail) if size]

    @property
    def part_size(self) -> int:
        """The most examples that are computed at once, see `kd.accumulation`."""
        return self.batch_size // self.accumulate

    def parts(self, size: int) -> int:
        """The parts that a batch of `size` examples is computed in: of a short one fewer."""
        return -(-size // self.part_size)

    @property
    def part_sizes(self) -> list[int]:
        """The numbers of examples that are computed at once, largest first."""
        parts = (sizes(size, self.parts(size)) for size in self.batch_sizes)
        return sorted({size for of_batch in parts for size in of_batch}, reverse=True)

    @property
    def traced_sizes(self) -> list[int]:
        """Batch sizes whose update is traced before a run begins: short ones may not be trained on.

        Of the usual size a run finds out in its first step, unless a single example is computed.
        """
        alone = lambda size: 1 in sizes(size, self.parts(size))
        return [size for size in self.batch_sizes if alone(size) or size != self.batch_sizes[0]]

    def calls(self, step: int) -> Iterator[Call]:
        """The dispatches that remain after `step` steps."""
        for epoch in range(step // self.steps_per_epoch, self.epochs):
            base = epoch * self.steps_per_epoch
            for first in range(0, self.full, self.steps_per_call):
                count = min(self.steps_per_call, self.full - first)
                ends = first + count == self.full and not self.tail
                call = Call(
                    epoch, first * self.batch_size, count, self.batch_size, base + first, ends
                )
                if call.step >= step:
                    yield call
            if self.tail and base + self.full >= step:
                start = self.full * self.batch_size
                yield Call(epoch, start, 1, self.tail, base + self.full, True)
