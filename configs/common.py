"""What config files share: their arguments, and naming one another."""

import difflib
from typing import Any


def parse_arg(arg: str | None, **defaults: Any) -> dict[str, Any]:
    """Options of a config file from its argument, `FILE.py:key=value,key=value`.

    Each option has the type of its default: bool (a bare `key` means True), int, float or str.

    Raises:
      ValueError: an unknown option, or a value that is not of the default's type.
    """
    options = dict(defaults)
    for part in filter(None, (arg or "").split(",")):
        key, given, value = part.partition("=")
        if key not in defaults:
            near = difflib.get_close_matches(key, defaults, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"unknown argument {key!r}.{hint} Known: {', '.join(defaults)}."
            )
        kind = type(defaults[key])
        try:
            options[key] = _boolean(value or "1") if kind is bool else kind(value)
        except ValueError:
            raise ValueError(
                f"argument {part!r}: expected {key}={kind.__name__}."
            ) from None
        if not given and kind is not bool:
            raise ValueError(f"argument {key!r} needs a value, {key}=....")
    return options


def reference(
    file: str, options: dict[str, Any], defaults: dict[str, Any], **changes: Any
) -> str:
    """`FILE.py:key=value,...` for the same options but for the changes; those at their default are left out."""
    new = {**options, **changes}
    given = [f"{key}={new[key]}" for key in new if new[key] != defaults[key]]
    return file + (":" + ",".join(given) if given else "")


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "0": False, "false": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]
