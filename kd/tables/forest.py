"""Forest plots: the differences of a table with their intervals. Needs matplotlib."""

import math
from collections.abc import Sequence
from typing import Any

from kd.tables.contrast import SAME
from kd.tables.figure import Directory, canvas, save, wrap
from kd.tables.measure import Entry
from kd.tables.table import Contrast, Experiment

COLORS = {"better": "tab:blue", "worse": "tab:red", SAME: "tab:gray", "": "tab:gray"}


def draw(experiment: Experiment, entries: Sequence[list[Entry]], out: Directory) -> list[Directory]:
    """Draws the contrasts of each table that has any, a panel for each column.

    Args:
      experiment: which one.
      entries: the numbers of each table.
      out: directory of the files.

    Returns:
      the files.
    """
    files = []
    for index, its_entries in enumerate(entries):
        shown = [e for e in its_entries if isinstance(e.cell, Contrast) and e.values]
        columns = list(dict.fromkeys(e.cell.column for e in shown))
        if not shown:
            continue
        rows = list(dict.fromkeys(e.cell.row for e in shown))
        figure, axes = canvas(len(columns), height=1.2 + 0.28 * len(rows))
        for axis, column in zip(axes, columns, strict=False):
            _panel(axis, [e for e in shown if e.cell.column == column], rows)
            axis.set_title(wrap(column or experiment.tables[index].title))
        path = out / f"{experiment.name}-differences{index or ''}.png"
        save(figure, path)
        files.append(path)
    return files


def _panel(axis: Any, entries: Sequence[Entry], rows: Sequence[str]) -> None:
    """A point with its interval for each row, the first on top."""
    for e in entries:
        y = len(rows) - 1 - rows.index(e.cell.row)
        color = COLORS.get(e.verdict, "tab:purple")
        difference = e.comparison.difference if e.comparison else None
        low, high = (difference.low, difference.high) if difference else (math.nan, math.nan)
        axis.plot([low, high], [y, y], color=color)
        axis.plot([e.mean], [y], "o", color=color)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [wrap(row) for row in reversed(rows)], fontsize="small")
    axis.set_ylim(-0.6, len(rows) - 0.4)
    units = {e.cell.unit for e in entries}
    axis.set_xlabel("difference" + (f" ({units.pop()})" if len(units) == 1 else ""))
