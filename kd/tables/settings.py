"""Settings of an experiment's cells, and the checks of what an experiment file contains."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from kd.errors import InputError, unknown
from kd.ranges import Count, Positive, Range, check
from kd.tables.table import Table

SETTINGS: dict[str, Any] = {
    "config": "",  # config file
    "args": {},  # its arguments
    "seeds": None,  # passed to it as the argument `seeds`
    "metric": "accuracy",  # see kd.tables.metric_call
    "unit": "",  # default: the metric's
    "digits": None,  # after the decimal point; default: the metric's
    "select": "last",  # "last" epoch, or "best_test" with the reason in `why`
    "why": "",
    # the paper's number; in a row with several columns a list with one for each, None for none
    "paper": None,
    "source": "",  # paper and table of the paper's number, which must have one
    "unsure": False,  # True if the number could not be verified: printed in brackets
    "at_least": None,  # required minimum of the mean: whether it is met is printed
    "at_most": None,  # required maximum
    "budget": None,  # minutes that a run may take
    # name of a row: the cell is the difference of its number from that row's in the same column
    "contrast": "",
    # likewise: its number over that row's
    "over": "",
}
"""Settings of a cell, with their defaults."""

ROW = {"cells": {}, "gap": ()}
TABLE = {"title": "", "note": "", "columns": {}, "rows": {}, "against": ""}
EXPERIMENT = {"title": "", "note": "", "tables": [], "claim": {}}
"""Other keys of a row, a table and an experiment."""

TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("args", "cells", "claim", "columns", "rows"), (Mapping,)),
    **dict.fromkeys(
        ("config", "metric", "unit", "select", "why", "source", "contrast", "over"), (str,)
    ),
    **dict.fromkeys(("title", "note", "against"), (str,)),
    **dict.fromkeys(("at_least", "at_most", "budget"), (int, float)),
    **dict.fromkeys(("seeds", "digits"), (int,)),
    **dict.fromkeys(("tables", "gap"), (list, tuple)),
    "unsure": (bool,),
}
"""Types of each key. None is allowed for a setting whose default is None."""


RANGES: dict[str, Any] = {
    "seeds": Count,
    "digits": Annotated[int, Range(0, 12)],
    "at_least": float,
    "at_most": float,
    "budget": Positive,
}
"""The numbers that a setting may have, see `kd.ranges`."""


def merge(
    outer: Mapping[str, Any], inner: Any, other_keys: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The settings that hold inside a part of an experiment.

    Args:
      outer: settings that hold around it.
      inner: its keys, which override those.
      other_keys: keys that it may have besides settings.
      where: what it is called in messages.

    Raises:
      InputError: an unknown key, or a value of another type.
    """
    if not isinstance(inner, Mapping):
        raise InputError(f"{where}: expected a dict, got {inner!r}.")
    for key in inner:
        if key not in SETTINGS and key not in other_keys:
            raise unknown(f"key of {where}", str(key), [*SETTINGS, *other_keys])
        _check_type(key, inner[key], where)
    merged = {**outer, **{k: v for k, v in inner.items() if k in SETTINGS}}
    # The innermost first: the name of a run begins with what its row is.
    args = inner.get("args", {})
    merged["args"] = {**args, **{k: v for k, v in outer.get("args", {}).items() if k not in args}}
    return merged


def _check_type(key: str, value: Any, where: str) -> None:
    types = TYPES.get(key)
    if types is None or (value is None and SETTINGS.get(key, 0) is None):
        return
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        names = " or ".join("dict" if t is Mapping else t.__name__ for t in types)
        raise InputError(f"{where}: {key} = {value!r}, expected {names}.")
    check(f"{where}: {key}", RANGES.get(key, Any), value)


def check_names(names: Iterable[Any], where: str) -> None:
    """Raises InputError for a row or column whose name is not text."""
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"{where}: a row or column is called {name!r}, expected a str.")


def check_titles(tables: Sequence[Table]) -> None:
    """Raises InputError if two tables have the same title, by which documents refer to them."""
    titles = [table.title for table in tables if table.title]
    for title in titles:
        if titles.count(title) > 1:
            raise InputError(
                f"two tables are called {title!r}, and documents refer to a table by its title. "
                "Give them different titles."
            )
