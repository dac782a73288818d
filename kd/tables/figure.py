"""Figures beside a table: learning curves of its runs, and a metric against what a network costs.
Needs matplotlib.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kd.runs.record import read_rows
from kd.tables.measure import Entry
from kd.tables.plan import Run
from kd.tables.table import Cell, Experiment, Gap, Table

DPI = 100


def curves(experiment: Experiment, runs: Mapping[str, Run], path: Path) -> list[Path]:
    """Error on the evaluated split over epochs: a panel for each column, a line for each row's run,
    a band for its seeds.

    Returns:
      the file, or nothing where no run has been evaluated yet.
    """
    panels: dict[str, dict[str, Run]] = {}
    for table in experiment.tables:
        for cell in table.entries():
            run = None if isinstance(cell, Gap) else runs[cell.reference]
            if run is not None and run.workdir.metrics.exists():
                lines = panels.setdefault(_title(table, cell), {})
                if run.identity not in {r.identity for r in lines.values()}:
                    lines[cell.row] = run
    panels = {
        title: {row: run for row, run in lines.items() if len(_errors(run)[0])}
        for title, lines in panels.items()
    }
    drawn: list[set[str]] = [
        set()
    ]  # runs of one panel; a table of other metrics of them needs no further one
    for title, lines in list(panels.items()):
        own = {run.identity for run in lines.values()}
        if any(own <= others for others in drawn):
            del panels[title]
        drawn.append(own)
    if not panels:
        return []
    from matplotlib import colormaps
    from matplotlib.ticker import LogFormatter, MaxNLocator

    figure, axes = _canvas(len(panels))
    for axis, (title, lines) in zip(axes, panels.items(), strict=False):
        many = len(lines) > 6  # of which a legend would hide the lines
        palette = colormaps["tab10" if len(lines) <= 10 else "tab20"]
        axis.set_prop_cycle(color=palette.colors)  # pyrefly: ignore
        for row, run in lines.items():
            epoch, error = _errors(run)  # [e], [e, s]
            (line,) = axis.plot(epoch, error.mean(axis=1), label=row)
            low, high = error.min(axis=1), error.max(axis=1)
            axis.fill_between(epoch, low, high, alpha=0.1 if many else 0.2, color=line.get_color())
        axis.set(title=_wrapped(title), xlabel="epoch", ylabel="error %", yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_formatter(LogFormatter())  # 20, not 2 x 10^1
        axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "ncols": 2}
        axis.legend(fontsize="x-small", **(below if many else {}))
    figure.savefig(path, dpi=DPI)
    return [path]


def _title(table: Table, cell: Cell | Gap) -> str:
    """The table's, with the column's name where columns are other runs and not other metrics of the
    same.
    """
    row = [c for c in table.entries() if c.row == cell.row and isinstance(c, Cell)]
    apart = len({c.reference for c in row}) == len(row)
    names = [table.title, cell.column if apart else ""]
    return ", ".join(name for name in names if name)


def _errors(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Epochs, from 1, and the error rate of each seed there in %."""
    rows = [row for row in read_rows(run.workdir) if row.get("kind") != "train"]
    rows = [row for row in rows if {"epoch", "accuracy"} <= row.keys()]
    epoch = np.array([row["epoch"] + 1 for row in rows])
    # An error of zero has no place on a logarithmic axis.
    error = 100 - 100 * np.array([row["accuracy"] for row in rows])
    return epoch, np.maximum(error, 1e-3)


def against(experiment: Experiment, entries: Sequence[list[Entry]], out: Path) -> list[Path]:
    """For each table that asks for it: the metric against a fact of the runs, such as bytes; a line
    for each row.
    """
    drawn = []
    for place, (table, own) in enumerate(zip(experiment.tables, entries, strict=True)):
        rows: dict[str, list[Entry]] = {}
        for e in own:
            if table.against and isinstance(e.cell, Cell) and table.against in e.facts:
                rows.setdefault(e.cell.row, []).append(e)
        if not rows:
            continue
        figure, (axis,) = _canvas(1)
        for row, points in rows.items():
            points.sort(key=lambda e: e.facts[table.against])
            x = [e.facts[table.against] for e in points]
            spread = [e.std or 0.0 for e in points]
            y = [e.mean for e in points]
            axis.errorbar(x, y, spread, marker="o", capsize=3, label=row)
        first = next(iter(rows.values()))[0].cell
        metric = f"{first.metric} ({first.unit})" if isinstance(first, Cell) else ""
        axis.set(xlabel=table.against, ylabel=metric, xscale="log")
        axis.set_title(_wrapped(table.title))
        axis.legend(fontsize="small")
        path = out / f"{experiment.name}-{table.against}{place or ''}.png"
        figure.savefig(path, dpi=DPI)
        drawn.append(path)
    return drawn


def _wrapped(title: str) -> str:
    """In lines that fit above an axis."""
    return textwrap.fill(title, 48)


def _canvas(panels: int):
    """A figure with so many axes, at most three in a line, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(panels, 3)
    lines = -(-panels // columns)
    figure = Figure(figsize=(5 * columns, 4 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[panels:]:
        axis.set_axis_off()
    return figure, axes
