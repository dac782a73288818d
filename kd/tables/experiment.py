"""Experiment files: tables as plain data, each cell with its run, its metric and the number of the
paper.

An experiment file defines `get_experiment(arg=None)`, which returns a dict:

    dict( title="...", config="configs/x.py", seeds=5, metric="errors", source="Hinton et al. 2015,
        section 3", tables=[ dict( title="...", columns={"T = 1": dict(args=dict(T=1)), ...},  #
        left out: one column rows={"distilled": dict(args=dict(role="student"), paper=74), ...}, )
        ],
    )

Each of `SETTINGS` may stand in the experiment, a table, a column, a row, or in a row's
`cells={column: dict(...)}`; the innermost holds, and `args` add up to the arguments of the config
file. Imports no jax.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd import config
from kd.errors import InputError, unknown
from kd.tables import derived
from kd.tables.table import Cell, Experiment, Gap, Paper, Table

SETTINGS: dict[str, Any] = {
    "config": "",  # config file
    "args": {},  # its arguments
    "seeds": None,  # given to it as the argument `seeds`
    "metric": "accuracy",  # see kd.tables.derived
    "unit": "",  # default: the metric's
    "digits": None,  # after the point; default: the metric's
    "select": "last",  # "last" epoch, or "best_test" with the reason in `why`
    "why": "",
    # the paper's number; in a row with several columns a list of one for each, None where it has
    # none
    "paper": None,
    "source": "",  # of the paper's number; none goes without
    "unsure": False,  # whether the number could not be verified: printed in brackets
    "at_least": None,  # what was asked for: whether the mean is that large is printed
    "at_most": None,
    "budget": None,  # minutes that a run may take
}

ROW = {"cells": {}, "gap": ()}
TABLE = {"title": "", "note": "", "columns": {}, "rows": {}, "against": ""}
EXPERIMENT = {"title": "", "note": "", "tables": []}

KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("args", "cells", "columns", "rows"), (Mapping,)),
    **dict.fromkeys(("config", "metric", "unit", "select", "why", "source"), (str,)),
    **dict.fromkeys(("title", "note", "against"), (str,)),
    **dict.fromkeys(("at_least", "at_most", "budget"), (int, float)),
    **dict.fromkeys(("seeds", "digits"), (int,)),
    **dict.fromkeys(("tables", "gap"), (list, tuple)),
    "unsure": (bool,),
}
"""What each key may be. None stands for a setting's default."""


def load(reference: str, seeds: int | None = None) -> Experiment:
    """The experiment of `FILE.py` or `FILE.py:arguments`, with `seeds` in place of its own where
    given.

    Raises:
      InputError: no such file, or what it returns is no experiment: which row, and what to do.
        Configs are not read.
    """
    given = config.call_file(reference, "get_experiment", "experiment")
    if not isinstance(given, Mapping):
        raise InputError(
            f"{reference}: get_experiment returned {type(given).__name__}, expected dict."
        )
    try:
        outer = _settings({}, given, EXPERIMENT, "the experiment")
        outer["asked_seeds"] = seeds
        tables = tuple(_table(t, outer) for t in given.get("tables", ()))
        if not any(table.cells for table in tables):
            raise InputError("no cells: expected `tables` with `rows`.")
        _check_titles(tables)
    except InputError as error:
        raise InputError(f"{reference}: {error}") from error
    path = reference.partition(":")[0]
    name = config.default_workdir(reference, "").name
    return Experiment(
        name,
        given.get("title") or name,
        given.get("note", ""),
        tables,
        Path(path).parent / "results" / f"{name}.json",
    )


def _check_titles(tables: Sequence[Table]) -> None:
    """Raises InputError where two tables have one title, by which documents place them."""
    titles = [table.title for table in tables if table.title]
    for title in titles:
        if titles.count(title) > 1:
            raise InputError(
                f"two tables are called {title!r}, and a document places a table by its title. "
                "Give each its own."
            )


def _settings(
    outer: Mapping[str, Any], own: Any, others: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The settings that hold inside `where`. Raises InputError for keys that are neither settings
    nor `others`.
    """
    if not isinstance(own, Mapping):
        raise InputError(f"{where}: expected a dict, got {own!r}.")
    for key in own:
        if key not in SETTINGS and key not in others:
            raise unknown(f"key of {where}", str(key), [*SETTINGS, *others])
        _check_kind(key, own[key], where)
    merged = {**outer, **{k: v for k, v in own.items() if k in SETTINGS}}
    # The innermost first: the name of a run begins with what its row is.
    args = own.get("args", {})
    merged["args"] = {**args, **{k: v for k, v in outer.get("args", {}).items() if k not in args}}
    return merged


def _check_kind(key: str, value: Any, where: str) -> None:
    """Raises InputError where a key of an experiment is of another kind than it should be."""
    kinds = KINDS.get(key)
    if kinds is None or (value is None and SETTINGS.get(key, 0) is None):
        return
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join("dict" if k is Mapping else k.__name__ for k in kinds)
        raise InputError(f"{where}: {key} = {value!r}, expected {names}.")


def _table(given: Mapping[str, Any], outer: dict[str, Any]) -> Table:
    where = f"table {given.get('title', '')!r}" if isinstance(given, Mapping) else "table"
    outer = _settings(outer, given, TABLE, where)
    columns = given.get("columns") or {"": {}}
    rows = given.get("rows", {})
    for name in (*rows, *columns):
        if not isinstance(name, str):
            raise InputError(f"{where}: a row or column is called {name!r}, expected a str.")
    cells: dict[tuple[str, str], Cell | Gap] = {}
    for row, own in rows.items():
        _settings({}, own, ROW, f"row {row!r}")  # its keys
        for place, (column, of_column) in enumerate(columns.items()):
            name = f"row {row!r}" + (f", column {column!r}" if column else "")
            inner = _settings(outer, of_column, {}, f"column {column!r}")
            inner = _settings(inner, own, ROW, name)
            special = own.get("cells", {}).get(column, {})
            if special is None:
                continue
            inner = _settings(inner, special, {}, name)
            if "paper" not in special:
                inner["paper"] = _at(inner.get("paper"), place, len(columns), name)
            if own.get("gap"):
                cells[row, column] = _gap(row, column, own, cells, name)
            else:
                cells[row, column] = _cell(row, column, {**SETTINGS, **inner}, name)
    for row, own in rows.items():
        for column in own.get("cells", {}):
            if column not in columns:
                raise unknown(f"column of row {row!r}", str(column), columns)
    return Table(
        given.get("title", ""),
        given.get("note", ""),
        tuple(rows),
        tuple(columns),
        cells,
        given.get("against", ""),
    )


def _at(paper: Any, place: int, columns: int, where: str) -> Any:
    """The paper's number of one column, where the row has one for each."""
    if not isinstance(paper, list | tuple):
        return paper
    if len(paper) != columns:
        raise InputError(f"{where}: {len(paper)} paper numbers for {columns} columns.")
    return paper[place]


def _gap(row: str, column: str, own: Any, cells: Mapping, where: str) -> Gap:
    if "paper" in own:
        raise InputError(
            f"{where}: the paper's share follows from its numbers in the rows of the gap. Leave "
            "paper out."
        )
    if len(own["gap"]) != 3:
        raise InputError(f"{where}: gap names three rows, (a - b) / (a - c).")
    for name in own["gap"]:
        if not isinstance(cells.get((name, column)), Cell):
            above = [r for r, c in cells if c == column]
            raise unknown(f"row in the gap of {where}", str(name), above)
    a, b, c = (cells[name, column] for name in own["gap"])
    return Gap(row, column, (a, b, c), own.get("at_least"), own.get("at_most"))


def _cell(row: str, column: str, s: dict[str, Any], where: str) -> Cell:
    try:
        metric = derived.parse(s["metric"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if s["select"] not in ("last", "best_test"):
        raise InputError(
            f"{where}: {unknown('selection', str(s['select']), ('last', 'best_test'))}"
        )
    if s["select"] == "best_test" and not (s["why"] and s["metric"] == "accuracy"):
        raise InputError(
            f"{where}: select = 'best_test' looks at the test set. It is there for accuracy where "
            "the paper did so: say that in `why`."
        )
    if not s["config"]:
        raise InputError(f"{where}: no config.")
    unit, digits = derived.UNITS[metric.name]
    return Cell(
        row,
        column,
        _reference(s),
        s["metric"],
        s["unit"] or unit,
        digits if s["digits"] is None else s["digits"],
        s["select"],
        s["why"],
        _paper(s, where),
        s["at_least"],
        s["at_most"],
        s["budget"],
    )


def _reference(s: Mapping[str, Any]) -> str:
    args = dict(s["args"])
    seeds = s["seeds"] if s["asked_seeds"] is None else s["asked_seeds"]
    if seeds is not None:
        args["seeds"] = seeds
    text = ",".join(f"{key}={value}" for key, value in args.items())
    return s["config"] + (f":{text}" if text else "")


def _paper(s: Mapping[str, Any], where: str) -> Paper | None:
    given = s["paper"]
    if given is None:
        return None
    own = given if isinstance(given, Mapping) else {"value": given}
    for key in own:
        if key not in ("value", "source", "unsure"):
            raise unknown(
                f"key of the paper's number of {where}", str(key), ("value", "source", "unsure")
            )
    value, source = own.get("value"), own.get("source", s["source"])
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise InputError(f"{where}: the paper's number is {value!r}, expected a number.")
    if not (isinstance(source, str) and source.strip()):
        raise InputError(
            f"{where}: the paper's number {value} has no source. Name paper and table in `source`."
        )
    unsure = own.get("unsure", s["unsure"])
    if not isinstance(unsure, bool):
        raise InputError(f"{where}: unsure = {unsure!r}, expected True or False.")
    return Paper(float(value), source, unsure)
