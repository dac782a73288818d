"""A table as CSV, with every number in full. `layout` has the Markdown for people.

The csv module writes the lines. A library of data frames would add a dependency, and these columns
would still have to be named and computed: they are all of this file.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from kd.files.escaping import csv as csv_cell
from kd.tables.measure import Entry
from kd.tables.plan import Run
from kd.tables.run_facts import hardware
from kd.tables.table import Cell, Contrast, Experiment, Ratio
from kd.tables.verdict import outcomes

COLUMNS = (
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
    "low",
    "high",
    "p",
    "verdict",
)


def text(
    experiment: Experiment,
    entries: Sequence[list[Entry]],
    plan: Mapping[str, Run],
    claimed: Sequence[Entry] = (),
) -> str:
    """One line for each cell, and for each hypothesis of a claim.

    Args:
      experiment: which one.
      entries: the numbers of each table.
      plan: the experiment's runs by reference.
      claimed: the numbers of the claim's contrasts.
    """
    lines = io.StringIO()
    writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table, its_entries in zip(experiment.tables, entries, strict=True):
        for entry in its_entries:
            line = {"table": table.title, **_line(entry, plan)}
            writer.writerow({column: csv_cell(value) for column, value in line.items()})
    for result in outcomes(experiment.claim, claimed) if experiment.claim else ():
        line = {"table": "claim", **_line(result.entry, plan), "p": result.p}
        line["verdict"] = result.word
        writer.writerow({column: csv_cell(value) for column, value in line.items()})
    return lines.getvalue()


def _line(entry: Entry, plan: Mapping[str, Run]) -> dict[str, Any]:
    """The values of a cell by column; those left out are empty."""
    cell = entry.cell
    line = {
        "row": cell.row,
        "column": cell.column,
        "metric": "ratio" if isinstance(cell, Ratio) else "gap",
        "unit": cell.unit,
        "mean": entry.mean if entry.values else "missing",
        "std": entry.std,
        "error": entry.error,
        "paper": entry.paper,
        "unsure": None if entry.paper is None else int(entry.unsure),
        "difference": entry.difference,
        "marked": None if entry.difference is None else int(entry.marked),
        "met": None if entry.met is None else int(entry.met),
        "values": " ".join(f"{v:z.10g}" for v in entry.values),
    }
    if isinstance(cell, Contrast):
        return line | _contrast(entry)
    if not isinstance(cell, Cell):
        return line
    facts = entry.facts
    return line | {
        "metric": cell.metric,
        "n": len(entry.values),
        "source": cell.paper.source if cell.paper else None,
        "config": plan[cell.reference].reference,
        "config_hash": facts.get("config_hash"),
        "split": facts.get("split"),
        "seconds": facts.get("seconds"),
        "hardware": hardware(facts),
        "commit": facts.get("git_commit"),
    }


def _contrast(entry: Entry) -> dict[str, Any]:
    """What a contrast has: its metric, its interval, the corrected p-value and the verdict."""
    line: dict[str, Any] = {"verdict": entry.verdict}
    if isinstance(entry.cell, Contrast):
        cell, *others = entry.cell.of
        line["metric"] = " - ".join([cell.metric, *(other.row for other in others)])
    if entry.comparison and entry.comparison.difference:
        difference = entry.comparison.difference
        line |= {"low": difference.low, "high": difference.high, "p": entry.comparison.corrected}
    return line
