"""Numbers and names as a report prints them. Proportions in [0, 1] are printed in per cent."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any


def short(name: str) -> str:
    """The last part of a run's directory; an ensemble keeps the words before its directory."""
    head, colon, path = name.rpartition(": ")
    return f"{head}{colon}{PurePath(path).name}"


def percent(value: float) -> str:
    """Per cent with two decimals, without the sign."""
    return f"{100 * value:z.2f}"


def points(value: float) -> str:
    """Per cent with + or -; a negative zero of rounding becomes +0.00."""
    return f"{100 * value:+z.2f}"


def span(low: float, high: float, sign: bool = False) -> str:
    """An interval, in `percent` or with `sign` in `points`."""
    number = points if sign else percent
    return f"[{number(low)}, {number(high)}]"


def estimate(numbers: Sequence[float]) -> list[str]:
    """Two cells of value, low and high: the value and its interval."""
    value, low, high = numbers
    return [percent(value), span(low, high)]


def gain(numbers: Mapping[str, Any]) -> list[str]:
    """Three cells of `value`, `low`, `high` and `mcnemar_p`: points, interval and p-value."""
    return [
        points(numbers["value"]),
        span(numbers["low"], numbers["high"], True),
        p_value(numbers["mcnemar_p"]),
    ]


def p_value(value: float | None) -> str:
    """Three decimals, or the power of ten of a small value; nothing for None."""
    if value is None:
        return ""
    return f"{value:z.3f}" if value >= 0.001 else f"{value:z.0e}"


def cells(text: str) -> list[str]:
    """Cells of a row that is written with | between them."""
    return text.split("|")
