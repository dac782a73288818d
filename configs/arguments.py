"""Arguments of config files, `FILE.py:key=value,...`, and references from one config to another."""

import difflib
from collections.abc import Iterable
from typing import Any


def parse_arg(arg: str | None, **defaults: Any) -> dict[str, Any]:
    """Parses the argument of a config file, `key=value,key=value`.

    Each option has the type of its default: bool (a bare `key` means True), int, float or str.

    Args:
      arg: what follows the colon of `FILE.py:...`, or None.
      **defaults: the options that the file knows, with their default values.

    Returns:
      All options, those that the argument names with their new values.

    Raises:
      ValueError: if an option is unknown, or a value does not have the default's type.
    """
    options = dict(defaults)
    for part in filter(None, (arg or "").split(",")):
        key, equals, value = part.partition("=")
        check_known("argument", key, defaults)
        kind = type(defaults[key])
        try:
            options[key] = _boolean(value or "1") if kind is bool else kind(value)
        except ValueError:
            raise ValueError(f"argument {part!r}: expected {key}={kind.__name__}.") from None
        if not equals and kind is not bool:
            raise ValueError(f"argument {key!r} needs a value, {key}=....")
    return options


def reference(file: str, options: dict[str, Any], defaults: dict[str, Any], **changes: Any) -> str:
    """Writes the reference `FILE.py:key=value,...` of a config, such as that of a teacher.

    Args:
      file: the config file.
      options: the options that the new reference starts from.
      defaults: the file's defaults; options equal to theirs are left out.
      **changes: options with another value in the new reference.
    """
    new = {**options, **changes}
    changed = [f"{key}={new[key]}" for key in new if new[key] != defaults[key]]
    return file + (":" + ",".join(changed) if changed else "")


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises ValueError with the nearest name and all known ones if a name is not known."""
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(known)}.")


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "0": False, "false": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]
