"""Checks of values that need no annotation: the type of a default, paths, sizes in memory."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kd.errors import InputError, unknown
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


def expanded(path: str | Path, what: str) -> Path:
    """The path with `~` and `~user` as the directories that they stand for.

    Args:
      path: as a user wrote it.
      what: its name in messages.

    Raises:
      InputError: it is no path, or no such user has a home directory.
    """
    if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
        raise InputError(f"{what} must name a file or directory, not {short(path)}.")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{what}: {str(path)!r} has no home directory: {error}") from error


def check_memory(what: str, nbytes: int, fix: str) -> None:
    """Raises InputError for what is larger than the memory of this machine.

    Args:
      what: what needs the memory, with its numbers.
      nbytes: how much.
      fix: what to do, a sentence.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if nbytes > memory:
        size = lambda n: f"{n / 2**30:z,.1f} GiB"
        raise InputError(f"{what} need {size(nbytes)}, and this machine has {size(memory)}. {fix}")


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 seed", "5 seeds", "1,437 images"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def class_number(name: Any, num_classes: int, class_names: Sequence[str], key: str) -> int:
    """The number of a class, from its name or from its number as text.

    Args:
      name: as a config has it.
      num_classes: of the data.
      class_names: of the data, or ().
      key: of the config, for messages.

    Raises:
      InputError: no such class; the message has the nearest name.
    """
    if name in class_names:
        return list(class_names).index(name)
    text = str(name).strip()
    if text.isdecimal() and len(text) <= 9 and int(text) < num_classes:
        return int(text)
    if class_names:
        raise unknown(f"class in {key}", str(name), class_names)
    raise InputError(f"{key}: no class {name!r}; the data have classes 0 to {num_classes - 1}.")
