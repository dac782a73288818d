"""Errors that a user can act on. `kd` prints them without a traceback.

A message says what was given, what was expected and what to do.
"""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The input (config, data, directory, checkpoint) is wrong. Nothing was overwritten.

    The command exits with 2.
    """


class MissingData(InputError):
    """The data set is not prepared on this machine."""


class RunError(RuntimeError):
    """A run cannot continue, such as one whose loss is not finite. The command exits with 1."""


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """An `InputError` for an unknown name: it suggests the nearest one and lists all."""
    name = name if len(name) <= 100 else f"{name[:100]} ..."
    return InputError(f"unknown {what} {name!r}. {suggestion(name, known)}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """The nearest known name and all of them, such as "Did you mean 'CE'? Known: CE, KD."."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}Known: {', '.join(known) or 'none'}."
