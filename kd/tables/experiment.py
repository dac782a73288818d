"""Experiment files: tables as plain data. Each cell has a run, a metric and the paper's number.

An experiment file defines `get_experiment(arg=None)`, which returns a dict:

    dict(
        title="...",
        config="configs/x.py",
        seeds=5,
        metric="errors",
        source="Hinton et al. 2015, section 3",
        tables=[
            dict(
                title="...",
                columns={"T = 1": dict(args=dict(T=1)), ...},  # left out: one column
                rows={"distilled": dict(args=dict(role="student"), paper=74), ...},
            )
        ],
    )

Each of `kd.tables.settings.SETTINGS` may be set in the experiment, a table, a column, a row, or in
a row's `cells={column: dict(...)}`. The innermost value holds; `args`, the arguments of the config
file, are merged. A row with `gap=(a, b, c)`, names of three rows above it, is the share of the gap
from a to c that b closes. A row or column with `contrast=a`, the name of a row, has differences
from that row, with 95 % intervals and a verdict: better, worse, not significant; with `over=a` it
has ratios to that row. `claim` is what the tables test, see `kd.tables.claim`. Imports no jax.
"""

import math
from collections.abc import Mapping
from typing import Any

from kd import config
from kd.errors import InputError, suggestion, unknown
from kd.tables import claim, facts
from kd.tables.metric_call import parse
from kd.tables.settings import EXPERIMENT, ROW, SETTINGS, TABLE, check_names, check_titles, merge
from kd.tables.table import AnyCell, Cell, Contrast, Experiment, Gap, Paper, Ratio, Table


def load(reference: str, seeds: int | None = None) -> Experiment:
    """The experiment of a file. Reads no configs.

    Args:
      reference: `FILE.py` or `kd:NAME`, each also with `:argument`.
      seeds: number of seeds, to override the experiment's.

    Raises:
      InputError: no such file, or its content is not an experiment; says which row and what to do.
    """
    content = config.call_file(reference, "experiment")
    if not isinstance(content, Mapping):
        raise InputError(
            f"{reference}: get_experiment returned {type(content).__name__}, expected dict."
        )
    try:
        outer = merge({}, content, EXPERIMENT, "the experiment")
        outer["seeds override"], outer["parsed metrics"] = seeds, {}
        tables = tuple(_table(table, outer) for table in content.get("tables", ()))
        if not any(table.cells for table in tables):
            raise InputError("no cells: expected `tables` with `rows`.")
        check_titles(tables)
        tested = claim.parse(content.get("claim", {}), tables)
    except InputError as error:
        raise InputError(f"{reference}: {error}") from error
    file, _ = config.find(reference, "experiment")
    name = config.default_workdir(reference, "").name
    return Experiment(
        name,
        content.get("title") or name,
        content.get("note", ""),
        tables,
        file.parent / "results" / f"{name}.json",
        tested,
    )


def _table(content: Mapping[str, Any], outer: dict[str, Any]) -> Table:
    """A table from its dict and the settings that hold around it."""
    where = f"table {content.get('title', '')!r}" if isinstance(content, Mapping) else "table"
    outer = merge(outer, content, TABLE, where)
    facts.check(content.get("against", ""), where)
    columns = content.get("columns") or {"": {}}
    rows = content.get("rows", {})
    check_names((*rows, *columns), where)
    for row, row_keys in rows.items():
        merge({}, row_keys, ROW, f"row {row!r}")  # to check them without a column
    cells: dict[tuple[str, str], AnyCell] = {}
    for row, row_keys in rows.items():
        for column in columns:
            where = _where(row, column)
            settings = _settings(row, column, rows, columns, outer)
            if settings is None:
                continue
            name = settings["contrast"] or settings["over"]
            if row_keys.get("gap"):
                if not name:
                    cells[row, column] = _gap(row, column, row_keys, cells, where)
            elif not name:
                cells[row, column] = _cell(row, column, settings, where)
            elif name not in rows:
                key = "contrast" if settings["contrast"] else "over"
                raise InputError(f"{where}: {key}={name!r} is no row. {suggestion(name, rows)}")
            elif name == row and any(row_keys.get(key) for key in ("contrast", "over")):
                raise InputError(f"{where}: it is compared with itself. Name another row.")
            elif name != row:  # in a column of differences the baseline has none
                other = _baseline(name, column, rows, columns, outer, where)
                cells[row, column] = _contrast(row, column, settings, other, where)
    for row, row_keys in rows.items():
        for column in row_keys.get("cells", {}):
            if column not in columns:
                raise unknown(f"column of row {row!r}", str(column), columns)
    return Table(
        content.get("title", ""),
        content.get("note", ""),
        tuple(rows),
        tuple(columns),
        cells,
        content.get("against", ""),
    )


def _where(row: str, column: str) -> str:
    """What a cell is called in messages."""
    return f"row {row!r}" + (f", column {column!r}" if column else "")


def _settings(
    row: str,
    column: str,
    rows: Mapping[str, Any],
    columns: Mapping[str, Any],
    outer: Mapping[str, Any],
) -> dict[str, Any] | None:
    """All settings of a cell, None if this pair of row and column has none."""
    cell_keys = rows[row].get("cells", {}).get(column, {})
    if cell_keys is None:
        return None
    where = _where(row, column)
    settings = merge(outer, columns[column], {}, f"column {column!r}")
    settings = merge(settings, rows[row], ROW, where)
    settings = merge(settings, cell_keys, {}, where)
    if "paper" not in cell_keys:
        index = [*columns].index(column)
        settings["paper"] = _at(settings.get("paper"), index, len(columns), where)
    return {**SETTINGS, **settings}


def _baseline(
    name: str,
    column: str,
    rows: Mapping[str, Any],
    columns: Mapping[str, Any],
    outer: Mapping[str, Any],
    where: str,
) -> Cell:
    """The cell that a contrast is the difference from."""
    settings = _settings(name, column, rows, columns, outer)
    if settings is None or any(rows[name].get(key) for key in ("gap", "contrast", "over")):
        raise InputError(
            f"{where}: it is compared with {name!r}, but this row has no number of a run there. "
            "Name a row that has one."
        )
    return _cell(name, column, settings, _where(name, column))


def _contrast(
    row: str, column: str, settings: Mapping[str, Any], baseline: Cell, where: str
) -> Contrast | Ratio:
    limits = settings["at_least"], settings["at_most"]
    cell = _cell(row, column, {**settings, "at_least": None, "at_most": None}, where)
    if settings["contrast"] and settings["over"]:
        raise InputError(f"{where}: contrast and over. Leave out one of them.")
    ways = [(parse(c.metric).metric.better, c.unit) for c in (cell, baseline)]
    if ways[0] != ways[1]:
        raise InputError(
            f"{where}: {cell.metric} ({cell.unit}) is compared with {baseline.metric} "
            f"({baseline.unit}) of {baseline.row!r}. Give both rows the same metric and unit."
        )
    if settings["over"]:
        digits = 2 if settings["digits"] is None else cell.digits
        return Ratio(row, column, (cell, baseline), *limits, digits)
    return Contrast(row, column, (cell, baseline), *limits, cell.digits, cell.unit)


def _at(paper: Any, index: int, columns: int, where: str) -> Any:
    """The paper's number of one column, if the row has one for each."""
    if not isinstance(paper, list | tuple):
        return paper
    if len(paper) != columns:
        raise InputError(f"{where}: {len(paper)} paper numbers for {columns} columns.")
    return paper[index]


def _gap(row: str, column: str, row_keys: Any, cells: Mapping, where: str) -> Gap:
    if "paper" in row_keys:
        raise InputError(
            f"{where}: the paper's share is computed from its numbers in the three rows. Leave "
            "paper out."
        )
    if len(row_keys["gap"]) != 3:
        raise InputError(f"{where}: gap needs the names of three rows, (a - b) / (a - c).")
    for name in row_keys["gap"]:
        if not (isinstance(name, str) and isinstance(cells.get((name, column)), Cell)):
            above = [r for r, c in cells if c == column]
            raise unknown(f"row in the gap of {where}", str(name), above)
    a, b, c = (cells[name, column] for name in row_keys["gap"])
    return Gap(row, column, (a, b, c), row_keys.get("at_least"), row_keys.get("at_most"))


def _cell(row: str, column: str, settings: Mapping[str, Any], where: str) -> Cell:
    parsed = settings["parsed metrics"]  # each once for all cells
    try:
        text = repr(settings["metric"])
        if text not in parsed:
            parsed[text] = parse(settings["metric"]).metric
        metric = parsed[text]
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    select, why = settings["select"], settings["why"]
    if select not in ("last", "best_test"):
        raise InputError(f"{where}: {unknown('selection', str(select), ('last', 'best_test'))}")
    if select == "best_test" and not (why and settings["metric"] == "accuracy"):
        raise InputError(
            f"{where}: select = 'best_test' uses the test set. It is allowed for accuracy if the "
            "paper did the same: say that in `why`."
        )
    if not settings["config"]:
        raise InputError(
            f"{where}: no config. Set config='FILE.py' in the experiment, the table, the column "
            "or the row."
        )
    return Cell(
        row,
        column,
        _reference(settings),
        settings["metric"],
        settings["unit"] or metric.unit,
        metric.digits if settings["digits"] is None else settings["digits"],
        select,
        why,
        _paper(settings, where),
        settings["at_least"],
        settings["at_most"],
        settings["budget"],
    )


def _reference(settings: Mapping[str, Any]) -> str:
    """`FILE.py:arguments` of the cell's run."""
    args = dict(settings["args"])
    override = settings["seeds override"]
    seeds = settings["seeds"] if override is None else override
    if seeds is not None:
        args["seeds"] = seeds
    text = ",".join(f"{key}={value}" for key, value in args.items())
    return settings["config"] + (f":{text}" if text else "")


def _paper(settings: Mapping[str, Any], where: str) -> Paper | None:
    """The paper's number, if there is one: `paper` is a number, or a dict with the number."""
    paper = settings["paper"]
    if paper is None:
        return None
    keys = paper if isinstance(paper, Mapping) else {"value": paper}
    known = ("value", "source", "unsure")
    for key in keys:
        if key not in known:
            raise unknown(f"key of the paper's number of {where}", str(key), known)
    value, source = keys.get("value"), keys.get("source", settings["source"])
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise InputError(f"{where}: the paper's number is {value!r}, expected a number.")
    if not (isinstance(source, str) and source.strip()):
        raise InputError(
            f"{where}: the paper's number {value} has no source. Name paper and table in `source`."
        )
    unsure = keys.get("unsure", settings["unsure"])
    if not isinstance(unsure, bool):
        raise InputError(f"{where}: unsure = {unsure!r}, expected True or False.")
    return Paper(float(value), source, unsure)
