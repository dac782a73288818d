"""Checks that values of a config have the type of their default."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from kd.errors import InputError


def of_type(key: str, default: Any, value: Any) -> Any:
    """`value` if it has the type of `default`; ints become floats and lists tuples.

    Raises:
      InputError: it has another type.
    """
    if default is None:
        return value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        if default and len({type(v) for v in default}) == 1:
            return tuple(of_type(key, default[0], v) for v in value)
        return tuple(value)
    if isinstance(default, Mapping | ConfigDict) and isinstance(value, Mapping | ConfigDict):
        return value
    if type(value) is not type(default):
        raise wrong_type(key, default, value)
    return value


def wrong_type(key: str, default: Any, value: Any) -> InputError:
    """An `InputError` for a value of another type than its default's."""
    expected = "a dict" if isinstance(default, ConfigDict) else type(default).__name__
    return InputError(f"config.{key}: expected {expected}, got {value!r} ({type(value).__name__}).")
