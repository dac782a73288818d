"""Checks of plain data against annotations."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAliasType, Union, get_args, get_origin

from kd.errors import InputError
from kd.ranges.limits import (
    Growth,
    Increasing,
    Length,
    Range,
    WithinRun,
    is_integer,
    is_number,
    is_sequence,
    short,
)


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
    ranges = [limit for limit in declared if isinstance(limit, Range)]
    arms = [_declared(arm) for arm in _arms(annotation)]
    fitting = [(arm, [*ranges, *more]) for arm, more in arms if _fits(arm, value)]
    if not fitting:
        raise InputError(f"{key}: expected {describe(annotation, ranges)}, got {short(value)}.")
    arm, limits = fitting[0]
    for limit in [*declared, *limits]:
        if isinstance(limit, Length | Increasing):
            limit.check(key, value)
    if is_number(value):
        for limit in [d for d in limits if isinstance(d, Range)] or [Range()]:
            if not limit.contains(value, arm is int):
                words = limit.words(arm is int, value)
                raise InputError(f"{key}: expected {words}, got {short(value)}.")
    elif is_sequence(value):
        entry = next(iter(get_args(arm)), Any)
        for place, item in enumerate(value):
            check(f"{key}[{place}]", entry, item)
    elif isinstance(value, Mapping):
        entry = (get_args(arm) or (Any, Any))[-1]
        for name, item in value.items():
            check(f"{key}.{name}", entry, item)


def check_in_run(key: str, annotation: Any, value: Any, epochs: float) -> None:
    """Checks a value, which `check` accepts, against the length of the run.

    Args:
      key: see `check`.
      annotation: of which `WithinRun` and `Growth` count.
      value: a number or a sequence of numbers.
      epochs: of the run.

    Raises:
      InputError: the run is too short for it.
    """
    annotation, declared = _declared(annotation)
    if is_sequence(value):
        for place, item in enumerate(value):
            entry = next(iter(get_args(annotation)), Any)
            check_in_run(f"{key}[{place}]", entry, item, epochs)
    for limit in declared:
        if isinstance(limit, WithinRun | Growth) and is_number(value):
            limit.check(key, value, epochs)


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


def check_arguments(function: Callable) -> Callable:
    """`function` that checks its arguments against its annotations; for calls from Python.

    What is no plain data, such as a traced array, passes, see `check`.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if _is_plain(value):
                annotation = signature.parameters[name].annotation
                check(f"{function.__name__}: {name}", annotation, value)
        return function(*args, **kwargs)

    return call


def describe(annotation: Any, ranges: Sequence[Range] = ()) -> str:
    """What an annotation takes, after "expected"."""
    annotation, declared = _declared(annotation)
    limits = [d for d in (*ranges, *declared) if isinstance(d, Range)]
    if annotation in (int, float):
        noun = "an integer" if annotation is int else "a number"
        if limits:
            words = limits[0].words(annotation is int)
            return words if words.startswith("a") else f"{noun}, {words}"
        return noun
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
        return is_integer(value) or not _is_plain(value)
    if annotation is float:
        return is_number(value) or not _is_plain(value)
    if _is_type(annotation, Sequence):
        return is_sequence(value) or not _is_plain(value)
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
    return isinstance(value, kinds) or is_number(value)
