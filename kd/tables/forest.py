"""Forest plots: the differences of a table with their intervals. Needs matplotlib."""

from collections.abc import Mapping, Sequence
from typing import Any

from kd.tables.contrast import SAME
from kd.tables.figure import Directory, canvas, literal, save, wrap
from kd.tables.gather import Numbers
from kd.tables.measure import Entry
from kd.tables.table import AnyCell, Contrast, Experiment
from kd.tables.verdict import AS_CLAIMED, OPPOSITE, SMALLER, outcomes

COLORS = {"better": "tab:blue", "worse": "tab:red", SAME: "tab:gray", "": "tab:gray"}


COLORS_OF_OUTCOMES = {AS_CLAIMED: "tab:blue", OPPOSITE: "tab:red", SMALLER: "tab:red"}


def draw(experiment: Experiment, numbers: Numbers, out: Directory) -> list[Directory]:
    """Draws the contrasts of each table that has any, a panel for each column; and those of a
    claim, a panel for each unit.

    Args:
      experiment: which one.
      numbers: of the experiment.
      out: directory of the files.

    Returns:
      the files.
    """
    files = _of_claim(experiment, numbers, out)
    for index, its_entries in enumerate(numbers.entries):
        shown = [e for e in its_entries if isinstance(e.cell, Contrast) and e.values]
        table = experiment.tables[index]
        columns = {e.cell.column for e in shown}
        columns = [column for column in table.columns if column in columns]
        if not shown:
            continue
        rows = list(dict.fromkeys(e.cell.row for e in shown))
        figure, axes = canvas(len(columns), height=1.2 + 0.28 * len(rows))
        for axis, column in zip(axes, columns, strict=False):
            _panel(axis, [e for e in shown if e.cell.column == column], rows)
            axis.set_title(wrap(column or table.title))
        number = index + len(files) if experiment.claim else index
        path = out / f"{experiment.name}-differences{number or ''}.png"
        save(figure, path)
        files.append(path)
    return files


def _of_claim(experiment: Experiment, numbers: Numbers, out: Directory) -> list[Directory]:
    """Draws the contrasts of a claim's hypotheses; dotted, what they are said to exceed."""
    if experiment.claim is None:
        return []
    results = [r for r in outcomes(experiment.claim, numbers.claim) if r.entry.values]
    units = list(dict.fromkeys(r.hypothesis.contrast.unit for r in results))
    if not results:
        return []
    rows = {unit: [r for r in results if r.hypothesis.contrast.unit == unit] for unit in units}
    most = max(map(len, rows.values()))
    figure, axes = canvas(len(units), height=1.2 + 0.5 * most)
    for axis, shown in zip(axes, rows.values(), strict=False):
        names = [r.hypothesis.contrast.row for r in shown]
        colors = {r.entry.cell: COLORS_OF_OUTCOMES.get(r.word, "tab:gray") for r in shown}
        _panel(axis, [r.entry for r in shown], names, colors)
        for y, result in enumerate(reversed(shown)):
            h = result.hypothesis
            bound = h.than if h.reach is None else h.reach
            axis.plot([bound, bound], [y - 0.4, y + 0.4], ":", color="black", linewidth=1)
    figure.suptitle(wrap(experiment.title))  # over the names of the rows, too, which are long
    path = out / f"{experiment.name}-differences.png"
    save(figure, path)
    return [path]


def _panel(
    axis: Any,
    entries: Sequence[Entry],
    rows: Sequence[str],
    colors: Mapping[AnyCell, str] | None = None,
) -> None:
    """A point with its interval for each row, the first on top, in the colours of its verdict. A
    difference that is many times all others is an arrow at the edge, with its number.
    """
    spans = {e.cell: _span(e) for e in entries}
    outliers = _outliers({cell: abs(e.mean) for cell, e in zip(spans, entries, strict=True)})
    shown = [end for cell, span in spans.items() if cell not in outliers for end in (*span, 0.0)]
    margin = 0.05 * (max(shown) - min(shown)) or 1.0
    edges = min(shown) - margin, max(shown) + margin
    for e in entries:
        y = len(rows) - 1 - rows.index(e.cell.row)
        color = colors[e.cell] if colors else COLORS.get(e.verdict, "tab:purple")
        if e.cell in outliers:
            mark, x, side = ("<", edges[0], "left") if e.mean < 0 else (">", edges[1], "right")
            axis.plot([x], [y], mark, color=color, clip_on=False)
            axis.text(
                x, y, f"  {e.mean:z.3g}  ", color=color, ha=side, va="center", fontsize="small"
            )
        else:
            axis.plot(spans[e.cell], [y, y], color=color)
            axis.plot([e.mean], [y], "o", color=color)
    axis.locator_params(axis="x", nbins=5)
    axis.axvline(0, color="black", linewidth=0.8)
    if outliers:
        axis.set_xlim(edges)
    axis.set_yticks(range(len(rows)), [wrap(row) for row in reversed(rows)], fontsize="small")
    axis.set_ylim(-0.6, len(rows) - 0.4)
    units = {e.cell.unit for e in entries}
    axis.set_xlabel("difference" + (f" ({literal(units.pop())})" if len(units) == 1 else ""))


def _span(entry: Entry) -> tuple[float, float]:
    """The ends of a difference's interval; both are the difference where it has no interval."""
    difference = entry.comparison.difference if entry.comparison else None
    return (difference.low, difference.high) if difference else (entry.mean, entry.mean)


def _outliers(sizes: Mapping[AnyCell, float]) -> set[AnyCell]:
    """Differences more than five times as large as nine of ten: to scale they would hide these."""
    ordered = sorted(sizes.values())
    most = ordered[(9 * (len(ordered) - 1)) // 10]
    return {cell for cell, size in sizes.items() if len(ordered) >= 10 and size > 5 * most > 0}
