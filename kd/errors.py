"""Errors that a user can act on: what was given, what was expected, what to do. `kd` prints them in
one block, no traceback.
"""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The input (config, data, directory, checkpoint) is at fault. Nothing was overwritten. The
    command exits with 2.
    """


class MissingData(InputError):
    """A data set is not prepared on this machine."""


class RunError(RuntimeError):
    """A run that began cannot go on, such as one whose loss is not finite. The command exits with
    1.
    """


def unknown(what: str, given: str, known: Iterable[str]) -> InputError:
    """An `InputError` for a name that does not exist: it names the nearest one and all that do."""
    known = list(known)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {what} {given!r}.{hint} Known: {', '.join(known) or 'none'}.")
