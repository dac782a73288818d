"""A table as CSV, for programs; see `layout` for people."""

import csv
import io
from collections.abc import Mapping, Sequence

from kd.tables.layout import hardware
from kd.tables.measure import Entry
from kd.tables.plan import Run
from kd.tables.table import Cell, Experiment

HEAD = (
    "table",
    "row",
    "column",
    "metric",
    "unit",
    "mean",
    "std",
    "n",
    "error",
    "paper",
    "unsure",
    "difference",
    "marked",
    "met",
    "values",
    "source",
    "config",
    "config_hash",
    "split",
    "seconds",
    "hardware",
    "commit",
)


def text(experiment: Experiment, entries: Sequence[list[Entry]], plan: Mapping[str, Run]) -> str:
    """A line for each cell, numbers in full."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(HEAD)
    for table, own in zip(experiment.tables, entries, strict=True):
        for e in own:
            cell, run = e.cell, [""] * 6
            is_cell = isinstance(cell, Cell)
            if isinstance(cell, Cell):
                reference = plan[cell.reference].reference
                keys = ("config_hash", "split", "seconds")
                run = [reference, *(e.facts.get(key) for key in keys)]
                run += [hardware(e.facts), e.facts.get("git_commit")]
            writer.writerow(
                [
                    table.title,
                    cell.row,
                    cell.column,
                    cell.metric if isinstance(cell, Cell) else "gap",
                    cell.unit,
                    e.mean if e.values else "missing",
                    e.std,
                    len(e.values) if is_cell else "",
                    e.error,
                    e.paper,
                    int(e.unsure) if e.paper is not None else "",
                    e.difference,
                    int(e.marked) if e.difference is not None else "",
                    "" if e.met is None else int(e.met),
                    " ".join(f"{v:.10g}" for v in e.values),
                    cell.paper.source if isinstance(cell, Cell) and cell.paper else "",
                    *run,
                ]
            )
    return lines.getvalue()
