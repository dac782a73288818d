"""Checks that values of a config have the type of their default."""

from typing import Any

from kd.errors import InputError
from kd.ranges import short


def of_type(key: str, default: Any, value: Any) -> Any:
    """`value` if it has the type of `default`; ints become floats and lists tuples.

    Raises:
      InputError: it has another type.
    """
    if default is None:
        return value
    if isinstance(default, float) and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"config.{key}: {short(value)} is too large.") from None
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        if default and len({type(v) for v in default}) == 1:
            return tuple(of_type(key, default[0], v) for v in value)
        return tuple(value)
    if hasattr(default, "items") and hasattr(value, "items"):  # ConfigDict is no Mapping
        return value
    if type(value) is not type(default):
        raise wrong_type(key, default, value)
    return value


def wrong_type(key: str, default: Any, value: Any) -> InputError:
    expected = "a dict" if hasattr(default, "items") else type(default).__name__
    return InputError(
        f"config.{key}: expected {expected}, got {short(value)} ({type(value).__name__})."
    )
