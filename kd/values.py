"""Values of a config held to the type of their default."""

from typing import Any

from kd.errors import InputError


def of_type(key: str, standard: Any, value: Any) -> Any:
    """`value` where its type is that of `standard`; an int passes for a float, a list for a tuple.
    Raises InputError.
    """
    if standard is None:
        return value
    if isinstance(standard, float) and type(value) is int:
        return float(value)
    if isinstance(standard, list | tuple) and isinstance(value, list | tuple):
        if standard and len({type(v) for v in standard}) == 1:
            return tuple(of_type(key, standard[0], v) for v in value)
        return tuple(value)
    if hasattr(standard, "items") and hasattr(value, "items"):  # ConfigDict is no Mapping
        return value
    if type(value) is not type(standard):
        raise wrong_type(key, standard, value)
    return value


def wrong_type(key: str, standard: Any, value: Any) -> InputError:
    expected = "a dict" if hasattr(standard, "items") else type(standard).__name__
    return InputError(f"config.{key}: expected {expected}, got {value!r} ({type(value).__name__}).")
