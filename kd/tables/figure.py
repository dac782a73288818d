"""Figures of a table: learning curves of its runs, and a metric against the cost of a network.

Needs matplotlib.
"""

import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from kd.files.writing import replacing
from kd.runs.record import read_rows
from kd.tables import facts
from kd.tables.measure import Entry
from kd.tables.plan import Run
from kd.tables.table import AnyCell, Cell, Experiment, Table

type Directory = Path | epath.Path  # the latter also in a bucket

DPI = 100

MOST_TICKS = 8
"""Numbers on a horizontal axis that are written out."""


def curves(experiment: Experiment, runs: Mapping[str, Run], path: Directory) -> list[Directory]:
    """Draws the error on the evaluated split over epochs.

    There is a panel for each column, a line for the run of each row, and a band from the lowest to
    the highest seed.

    Args:
      experiment: which one.
      runs: its runs by reference.
      path: of the file.

    Returns:
      the path, or nothing if no run has been evaluated more than once.
    """
    panels = _panels(experiment, runs)
    if not panels:
        return []
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    figure, axes = canvas(len(panels))
    for axis, (title, lines) in zip(axes, panels.items(), strict=False):
        many = len(lines) > 6  # a legend inside the axes would hide the lines
        palette = colormaps["tab10" if len(lines) <= 10 else "tab20"]
        axis.set_prop_cycle(color=palette.colors)  # pyrefly: ignore
        for row, run in lines.items():
            epoch, error = _errors(run)  # [e], [e, s]
            (line,) = axis.plot(epoch, error.mean(axis=1), label=literal(row))
            low, high = error.min(axis=1), error.max(axis=1)
            axis.fill_between(epoch, low, high, alpha=0.1 if many else 0.2, color=line.get_color())
        axis.set(title=wrap(title), xlabel="epoch", ylabel=_error_label(lines), yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_formatter(decimals())
        axis.yaxis.set_minor_formatter(decimals(minor_thresholds=(2, 0.5)))
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "ncols": 2}
        axis.legend(fontsize="x-small", **(below if many else {}))
    save(figure, path)
    return [path]


def _panels(experiment: Experiment, runs: Mapping[str, Run]) -> dict[str, dict[str, Run]]:
    """The runs of each panel that were evaluated at least twice, by the panel's title and the row's
    name.

    A run has one line in a panel. A panel without a run that earlier panels lack is left out: its
    table has other metrics of the same runs.
    """
    panels: dict[str, dict[str, Run]] = {}
    for table in experiment.tables:
        for cell in table.entries():
            run = runs[cell.reference] if isinstance(cell, Cell) else None
            if run is not None and run.workdir.metrics.exists():
                lines = panels.setdefault(_title(table, cell), {})
                if run.identity not in {r.identity for r in lines.values()}:
                    lines[cell.row] = run
    drawn: list[set[str]] = [set()]
    new_panels = {}
    for title, lines in panels.items():
        lines = {row: run for row, run in lines.items() if len(_errors(run)[0]) > 1}
        identities = {run.identity for run in lines.values()}
        if lines and not any(identities <= earlier for earlier in drawn):
            new_panels[title] = lines
        drawn.append(identities)
    return new_panels


def _title(table: Table, cell: AnyCell) -> str:
    """The table's title; with the column's name if columns are different runs."""
    row = [c for c in table.entries() if c.row == cell.row and isinstance(c, Cell)]
    different_runs = len({c.reference for c in row}) == len(row)
    names = [table.title, cell.column if different_runs else ""]
    return ", ".join(name for name in names if name)


def _error_label(lines: Mapping[str, Run]) -> str:
    """The error of a panel's runs, which may be on test or on held-out training images."""
    held_out = {bool(run.config.holdout) for run in lines.values()}
    if len(held_out) > 1:
        return "error %"
    return "held-out error %" if held_out.pop() else "test error %"


def _errors(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Evaluated epochs [e], from 1, and the error rate of each seed in % [e, s]."""
    rows = [row for row in read_rows(run.workdir) if row.get("kind") != "train"]
    rows = [row for row in rows if {"epoch", "accuracy"} <= row.keys()]
    epoch = np.array([row["epoch"] + 1 for row in rows])
    error = 100 - 100 * np.array([row["accuracy"] for row in rows])
    return epoch, np.maximum(error, 1e-3)  # a logarithmic axis cannot show 0


def against(
    experiment: Experiment,
    entries: Sequence[list[Entry]],
    runs: Mapping[str, Run],
    out: Directory,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Directory]:
    """Draws the metric against a fact of the runs, such as bytes, for tables with `against`.

    Points are means over seeds; bars are standard deviations.

    Args:
      experiment: which one.
      entries: the numbers of each table.
      runs: the experiment's runs by reference.
      out: directory of the files.
      tell: called with a line for cells that are left out because the fact is not known.

    Returns:
      the files.
    """
    files = []
    for index, (table, its_entries) in enumerate(zip(experiment.tables, entries, strict=True)):
        lines = _lines(table, its_entries, runs, tell) if table.against else {}
        if not lines:
            continue
        figure, (axis,) = canvas(1)
        for row, points in lines.items():
            x, points = zip(*sorted(points, key=lambda point: point[0]), strict=True)
            spread = [e.std or 0.0 for e in points]
            axis.errorbar(
                x, [e.mean for e in points], spread, marker="o", capsize=3, label=literal(row)
            )
        cells = [e.cell for points in lines.values() for _, e in points]
        axis.set(xlabel=facts.FACTS[table.against].title, ylabel=literal(_y_title(cells)))
        _set_scale(axis, {x for points in lines.values() for x, _ in points})
        axis.set_title(wrap(table.title))
        axis.legend(fontsize="small")
        path = out / f"{experiment.name}-{table.against}{index or ''}.png"
        save(figure, path)
        files.append(path)
    return files


def _lines(
    table: Table,
    entries: Sequence[Entry],
    runs: Mapping[str, Run],
    tell: Callable[[str], None],
) -> dict[str, list[tuple[float, Entry]]]:
    """The points (fact, entry) of each row that has any."""
    lines: dict[str, list[tuple[float, Entry]]] = {}
    for e in entries:
        if not isinstance(e.cell, Cell) or not e.values:
            continue
        x = facts.value(table.against, e.facts, runs[e.cell.reference], e.cell.metric)
        if x is None:
            title = facts.FACTS[table.against].title
            why = f"for its run does not say how many {title} it has"
            if table.against in facts.OF_METRICS:
                why = f"for its metric has no {title}"
            tell(f"not drawn: {e.cell.name}, {why}")
        else:
            lines.setdefault(e.cell.row, []).append((x, e))
    return lines


def _y_title(cells: Sequence[AnyCell]) -> str:
    """The metric that the cells share, with its unit; its name alone if they differ in keywords."""
    metrics = {cell.metric for cell in cells if isinstance(cell, Cell)}
    names = sorted({metric.partition("(")[0] for metric in metrics})
    units = {cell.unit for cell in cells if cell.unit}
    name = metrics.pop() if len(metrics) == 1 else ", ".join(names)
    return f"{name} ({units.pop()})" if len(units) == 1 else name


def _set_scale(axis: Any, numbers: set[float]) -> None:
    """A logarithmic axis with a tick at each number, if these are few; a linear one from 0."""
    from matplotlib.ticker import NullLocator

    if min(numbers) <= 0:
        return
    axis.set_xscale("log")
    ticks = sorted(numbers)
    if len(ticks) <= MOST_TICKS and all(b > 1.3 * a for a, b in itertools.pairwise(ticks)):
        axis.set_xticks(ticks, [f"{number:z,.0f}" for number in ticks])
        axis.xaxis.set_minor_locator(NullLocator())


def save(figure: Any, path: Directory) -> None:
    """Writes a figure as a PNG file, completely or not at all."""
    with replacing(path) as part, part.open("wb") as file:
        figure.savefig(file, dpi=DPI, format="png")


def decimals(**settings: Any) -> Any:
    """A formatter of a logarithmic axis with the places of LogFormatter, and settings of it, whose
    numbers are 0.6 and 20, not 6e-01 or 2 x 10^1.
    """
    from matplotlib.ticker import LogFormatter

    class Decimals(LogFormatter):
        def __call__(self, x: float, pos: Any = None) -> str:
            return f"{x:zg}" if super().__call__(x, pos) else ""

    return Decimals(**settings)


def wrap(title: str) -> str:
    """The title in lines that fit above the axes."""
    return literal(textwrap.fill(title, 48))


def literal(text: str) -> str:
    """A text that matplotlib draws as it is: what is between two $ is no formula, and a legend has
    what begins with _, too.
    """
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def canvas(panels: int, height: float = 4):
    """A figure that needs no display, and its axes, at most three in a line.

    Args:
      panels: number of axes.
      height: of each, in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(panels, 3)
    lines = -(-panels // columns)
    figure = Figure(figsize=(5 * columns, height * lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[panels:]:
        axis.set_axis_off()
    return figure, axes
