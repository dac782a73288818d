"""Texts of a cell: mean and spread, the paper's number, the difference, limits and caveats."""

import math

from kd.tables.measure import Entry
from kd.tables.metric_call import parse
from kd.tables.table import Cell, Contrast, Gap

MARK = "✱"
"""Mark of a difference of more than two standard errors."""

CHOSEN = "chosen on test"
HELD_OUT = "held out"


def mean(e: Entry) -> str:
    """Mean and standard deviation; of a gap the share and its standard error; of a contrast the
    difference, its interval and the verdict.
    """
    if not e.values:
        return "missing"
    digits = e.cell.digits
    text = number(e.mean, digits)
    if isinstance(e.cell, Gap) and not math.isfinite(e.mean):
        return "–"  # there is no gap
    if isinstance(e.cell, Gap):
        return text + (f" (s.e. {e.error:z.{digits}f})" if e.error is not None else "")
    if isinstance(e.cell, Contrast):
        return _contrast(e)
    return text if e.std is None else f"{text} ± {e.std:z.{digits}f}"


def _contrast(e: Entry) -> str:
    digits = e.cell.digits
    text = number(e.mean, digits, sign=True)
    if e.comparison is None or e.comparison.difference is None:
        return text
    ends = (number(end, digits, sign=True) for end in e.comparison.difference[1:3])
    return f"{text} [{', '.join(ends)}] {e.verdict}".rstrip()


def paper(e: Entry) -> str:
    """The paper's number, in brackets if it could not be verified."""
    if e.paper is None:
        return ""
    text = number(round(e.paper, 4 if isinstance(e.cell, Cell) else e.cell.digits))
    return f"[{text}]" if e.unsure else text


def difference(e: Entry) -> str:
    """Mean minus the paper's number, with its sign."""
    if e.difference is None:
        return ""
    return number(e.difference, e.cell.digits, sign=True)


def limits(e: Entry) -> str:
    """The required limits and whether they are met."""
    parts = [
        f"{sign} {number(limit)}"
        for sign, limit in (("≥", e.cell.at_least), ("≤", e.cell.at_most))
        if limit is not None
    ]
    if not parts:
        return ""
    verdict = {True: "met", False: "not met", None: "open"}[e.met]
    return f"{' and '.join(parts)}: {verdict}"


def caveats(e: Entry, mixed: bool) -> list[str]:
    """Warnings about a number, in brackets.

    Args:
      e: the cell.
      mixed: True if other cells are evaluated on other images, so that held-out ones are noted.
    """
    uses_test = isinstance(e.cell, Cell) and parse(e.cell.metric).uses_test
    words = [CHOSEN] * uses_test + [HELD_OUT] * (mixed and e.held_out)
    return [f"({word})" for word in words]


def number(value: float, digits: int | None = None, sign: bool = False) -> str:
    """A number as text, with a minus sign instead of a hyphen; without `digits` all that it has."""
    plus = "+z" if sign else "z"  # z: no negative zero
    text = format(value, f"{plus}.15g" if digits is None else f"{plus}.{digits}f")
    return text.replace("-", "−")
