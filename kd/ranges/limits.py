"""Limits that annotations of settings carry, and the customary settings."""

import dataclasses
import numbers
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from kd.errors import InputError

LARGEST = 1e12
"""Bound of all numbers: their squares, and sums of a great many of them, are finite in float32."""

LARGEST_INT = 2**31 - 1
"""Bound of all integers: jax computes with int32."""

_SMALLEST = 2.0**-126  # what is smaller counts as 0 in float32 on most devices


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that a setting may have; without arguments, all finite ones.

    Attributes:
      least: the smallest, included.
      most: the largest, included.
      above: what it must exceed, in float32.
      below: what it must not reach, in float32.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def contains(self, value: float, integer: bool = False) -> bool:
        """Whether a number is in the range, and within what kd computes with."""
        limit = LARGEST_INT if integer else LARGEST
        if not -limit <= value <= limit:  # NaN too
            return False
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or _float32(value - self.above) > 0)
            and (self.below is None or _float32(value) < self.below)
        )

    def words(self, integer: bool = False, value: float = 0) -> str:
        """The range, after "expected": as far as it matters for a value outside."""
        noun = "an integer" if integer else "a number"
        limit = LARGEST_INT if integer else LARGEST
        low = self.above if self.least is None else self.least
        high = self.below if self.most is None else self.most
        if high is None and (low is None or value > limit):
            high = limit
        if low is None:
            low = -limit
        if high is None:
            return f"{_text(low)} or more" if self.above is None else f"{noun} above {_text(low)}"
        if self.above is None and self.below is None:
            return f"{noun} from {_text(low)} to {_text(high)}"
        start = "[" if self.above is None else "("
        end = "]" if self.below is None else ")"
        return f"{noun} in {start}{_text(low)}, {_text(high)}{end}"


@dataclasses.dataclass(frozen=True)
class Length:
    """How many entries a sequence may have."""

    least: int = 0
    most: int = 1024

    def check(self, key: str, value: Any) -> None:
        """Raises InputError for another number of entries."""
        if is_sequence(value) and not self.least <= len(value) <= self.most:
            least, most = f"{self.least:,}", f"{self.most:,}"
            wanted = f"{least} entries" if least == most else f"{least} to {most} entries"
            raise InputError(f"{key}: expected {wanted}, got {len(value)}: {short(value)}.")


@dataclasses.dataclass(frozen=True)
class WithinRun:
    """A time in epochs that the run reaches.

    Attributes:
      before_end: whether it must come before the end, since afterwards nothing happens.
    """

    before_end: bool = False

    def check(self, key: str, value: float, epochs: float) -> None:
        """Raises InputError for a later time, in a run of so many epochs."""
        if value > epochs or (self.before_end and value == epochs):
            raise InputError(
                f"{key}: expected an epoch of the run, which ends after {epochs:g}, got {value:g}. "
                "Train longer (config.epochs), or shorten the schedule."
            )


@dataclasses.dataclass(frozen=True)
class Growth:
    """A factor of every epoch: after all epochs of the run, the product is a number kd computes."""

    def check(self, key: str, value: float, epochs: float) -> None:
        """Raises InputError for a factor that grows beyond all bounds."""
        most = LARGEST ** (1 / max(epochs, 1))
        if value > most:
            raise InputError(
                f"{key}: expected {most:.4g} at most in a run of {epochs:g} epochs, got {value:g}: "
                f"its power would exceed {LARGEST:g}."
            )


@dataclasses.dataclass(frozen=True)
class Increasing:
    """Each entry of a sequence is larger than the one before."""

    def check(self, key: str, value: Any) -> None:
        """Raises InputError for another order."""
        if is_sequence(value) and any(b <= a for a, b in pairwise(value)):
            raise InputError(f"{key}: expected increasing numbers, got {short(value)}.")


Fraction = Annotated[float, Range(0, 1)]
Probability = Annotated[float, Range(0, below=1)]  # of dropping: 1 would leave nothing
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(0)]
Temperature = Annotated[float, Range(1e-4, 1e4)]  # beyond, softmax or T^2 loses all digits
Epoch = Annotated[float, Range(0), WithinRun()]
Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Side = Annotated[int, Range(1, 8192)]  # pixels
Width = Annotated[int, Range(1, 65_536)]  # units or channels of a layer
Depth = Annotated[int, Range(1, 1024)]  # layers, heads, peers: each is built in turn
Classes = Annotated[int, Range(1, 2**24)]
Means = Annotated[Sequence[float], Length(1)]  # one for each channel
Deviations = Annotated[Sequence[Positive], Length(1)]
Widths = Annotated[Sequence[Width], Length(1)]


def _text(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _float32(value: float) -> float:
    """The number in float32, where what is below its normal numbers is 0."""
    rounded = struct.unpack("f", struct.pack("f", value))[0]
    return rounded if abs(rounded) >= _SMALLEST else 0.0


def short(value: Any) -> str:
    """A value for a message, cut off where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a cycle
        return f"a value of {type(value).__name__} that is too large to print"
    return text if len(text) <= 200 else text[:200] + " ..."
