"""Checks of the values of settings: their type, and the range that they declare.

A setting declares its range where it is declared itself, by its annotation:

    class KD(nn.Module):
        temperature: Temperature = 4.0

    def crop(key, image, padding: Annotated[int, Range(least=0, most=1024)] = 4): ...

An annotation without a range, such as `float`, stands for all finite numbers. The check is the same
for a value of a config, a keyword of a maker (`kd.registry.make`) and the fields of a module that a
caller made (`check_fields`).
"""

import dataclasses
import numbers
import struct
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeAliasType, Union, get_args, get_origin

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
      epochs: whether it is a time in epochs, so that it lies within the run; see `kd.optim`.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    epochs: bool = False

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

    def words(self, integer: bool = False) -> str:
        """The range, after "expected"."""
        noun = "an integer" if integer else "a number"
        low, high = "", ""
        if self.least is not None:
            low = f"{self.least:,} or more"
        elif self.above is not None:
            low = f"above {self.above:,}"
        if self.most is not None:
            high = f"{self.most:,} at most"
        elif self.below is not None:
            high = f"below {self.below:,}"
        if self.least is not None and self.most is not None:
            return f"{noun} from {self.least:,} to {self.most:,}"
        if self.least is not None and self.below is not None:
            return f"{noun} in [{self.least:,}, {self.below:,})"
        if low or high:
            return f"{noun}, {' and '.join(part for part in (low, high) if part)}"
        limit = LARGEST_INT if integer else LARGEST
        return f"{noun} from {-limit:,.0f} to {limit:,.0f}"


@dataclasses.dataclass(frozen=True)
class Length:
    """How many entries a sequence may have."""

    least: int = 0
    most: int = 1024

    def check(self, key: str, value: Any) -> None:
        """Raises InputError for another number of entries."""
        if _is_sequence(value) and not self.least <= len(value) <= self.most:
            wanted = f"{self.least:,} to {self.most:,} entries"
            raise InputError(f"{key}: expected {wanted}, got {len(value)}: {short(value)}.")


@dataclasses.dataclass(frozen=True)
class Increasing:
    """Each entry of a sequence is larger than the one before."""

    def check(self, key: str, value: Any) -> None:
        """Raises InputError for another order."""
        if _is_sequence(value) and any(b <= a for a, b in pairwise(value)):
            raise InputError(f"{key}: expected increasing numbers, got {short(value)}.")


Fraction = Annotated[float, Range(0, 1)]
Probability = Annotated[float, Range(0, below=1)]  # of dropping: 1 would leave nothing
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(0)]
Temperature = Annotated[float, Range(1e-4, 1e4)]  # beyond, softmax or T^2 loses all digits
Epoch = Annotated[float, Range(0, epochs=True)]
Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Width = Annotated[int, Range(1, 65_536)]  # units or channels of a layer
Depth = Annotated[int, Range(1, 1024)]  # layers, heads, peers: each is built in turn
Classes = Annotated[int, Range(1, 2**24)]
Widths = Annotated[Sequence[Width], Length(1)]


def check(key: str, annotation: Any, value: Any) -> None:
    """Checks a value against the annotation of its setting.

    What is no plain data (functions, arrays, modules) passes, as do annotations that say nothing
    about plain data; a number must be finite whatever the annotation says.

    Args:
      key: its place in messages, such as `config.optimizer.momentum`.
      annotation: such as `Fraction`, `Sequence[Width]`, `float | None`, `Any`.
      value: what a user set.

    Raises:
      InputError: another type, or out of range.
    """
    annotation, declared = _declared(annotation)
    for limit in declared:
        if isinstance(limit, Length | Increasing):
            limit.check(key, value)
    ranges = [limit for limit in declared if isinstance(limit, Range)]
    arms = [_declared(arm) for arm in _arms(annotation)]
    fitting = [(arm, [*ranges, *more]) for arm, more in arms if _fits(arm, value)]
    if not fitting:
        raise InputError(f"{key}: expected {describe(annotation, ranges)}, got {short(value)}.")
    arm, limits = fitting[0]
    if _is_number(value):
        for limit in [d for d in limits if isinstance(d, Range)] or [Range()]:
            if not limit.contains(value, arm is int):
                words = limit.words(arm is int)
                raise InputError(f"{key}: expected {words}, got {short(value)}.")
    elif _is_sequence(value):
        entry = next(iter(get_args(arm)), Any)
        for place, item in enumerate(value):
            check(f"{key}[{place}]", entry, item)
    elif isinstance(value, Mapping):
        entry = (get_args(arm) or (Any, Any))[-1]
        for name, item in value.items():
            check(f"{key}.{name}", entry, item)


def check_fields(value: Any, what: str) -> None:
    """Checks all fields of a module, a dataclass, and of the modules in it.

    Args:
      value: such as `KD(temperature=0)`, which a caller made. Other objects pass.
      what: its name in messages.

    Raises:
      InputError: a field is out of the range that it declares.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            check_fields(item, f"{what}.{name}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            check_fields(item, f"{what}[{place}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if field.name in ("parent", "name") or not hasattr(value, field.name):
                continue  # of Flax
            item = getattr(value, field.name)
            if type(item) is not type(field.default) or item != field.default:
                check(f"{what}.{field.name}", field.type, item)
            check_fields(item, f"{what}.{field.name}")


def describe(annotation: Any, ranges: Sequence[Range] = ()) -> str:
    """What an annotation takes, after "expected"."""
    annotation, declared = _declared(annotation)
    limits = [d for d in (*ranges, *declared) if isinstance(d, Range)]
    if annotation in (int, float):
        if limits:
            return limits[0].words(annotation is int)
        return "an integer" if annotation is int else "a number"
    arms = _arms(annotation)
    if len(arms) > 1:
        return " or ".join(describe(arm, ranges) for arm in arms)
    if annotation in (None, types.NoneType):
        return "None"
    if _is_type(annotation, Sequence):
        entries = get_args(annotation)
        return "a sequence" + (f", each {describe(entries[0])}" if entries else "")
    if _is_type(annotation, Mapping):
        return "a dict"
    return {str: "a text", bool: "True or False"}.get(annotation, str(annotation))


def _declared(annotation: Any) -> tuple[Any, list[Any]]:
    """An annotation without its metadata, and the metadata."""
    declared: list[Any] = []
    while True:
        if isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            declared += more
        else:
            return annotation, declared


def _arms(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union; one for any other annotation."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _fits(annotation: Any, value: Any) -> bool:
    """Whether plain data have the type of an annotation; True for annotations of other kinds."""
    if annotation in (None, types.NoneType):
        return value is None
    if annotation in (bool, str):
        return isinstance(value, annotation) or not _is_plain(value)
    if annotation is int:
        return _is_integer(value) or not _is_plain(value)
    if annotation is float:
        return _is_number(value) or not _is_plain(value)
    if _is_type(annotation, Sequence):
        return _is_sequence(value) or not _is_plain(value)
    if _is_type(annotation, Mapping):
        return isinstance(value, Mapping) or not _is_plain(value)
    if _is_type(annotation, Callable):
        return not _is_plain(value)
    return True


def _is_type(annotation: Any, base: Any) -> bool:
    """Whether an annotation is `base`, a class like it, or such a class of certain entries."""
    origin = get_origin(annotation) or annotation
    if base is Callable:
        return origin is Callable or origin is typing.Callable
    if not isinstance(origin, type) or issubclass(origin, str):
        return False
    return issubclass(origin, base)


def _is_plain(value: Any) -> bool:
    """Whether a value is of a kind that configs hold."""
    kinds = bool | int | float | str | list | tuple | Mapping | None
    return isinstance(value, kinds) or _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_sequence(value: Any) -> bool:
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
