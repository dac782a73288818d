"""Tables as Markdown, for people. `sheet` has the CSV for programs."""

from collections.abc import Iterable, Mapping, Sequence

from kd.files.escaping import markdown as markdown_text
from kd.tables import cell_text, claim_text, markdown_table
from kd.tables.legend import examples, legend, sample_sizes
from kd.tables.measure import Entry
from kd.tables.plan import Run
from kd.tables.run_facts import commit, hardware, time
from kd.tables.table import Cell, Contrast, Experiment, Table

FOLDED = """\
<details markdown="1">
<summary>Runs ({count}): {facts}</summary>

{runs}

</details>"""
"""A table of runs in a document: GitHub and MkDocs (`md_in_html`) show the summary alone."""


def markdown(
    experiment: Experiment,
    entries: Sequence[list[Entry]],
    plan: Mapping[str, Run],
    claimed: Sequence[Entry] = (),
    folded: bool = False,
) -> str:
    """The complete experiment: its claim, its tables, a legend, and a table of the runs.

    Args:
      experiment: which one.
      entries: the numbers of each table.
      plan: the experiment's runs by reference.
      claimed: the numbers of the claim's contrasts.
      folded: True if the runs open at a click, for documents; False for a terminal.
    """
    parts = [f"**{experiment.title}**", experiment.note]
    if experiment.claim:
        parts.append(claim_text.markdown(experiment.claim, claimed))
    all_entries = [entry for its_entries in entries for entry in its_entries]
    one_n = len(sample_sizes(all_entries)) == 1  # the legend then has it
    mixed = len(examples(all_entries)) > 1
    for table, its_entries in zip(experiment.tables, entries, strict=True):
        parts += _table(table, its_entries, one_n, mixed)
    head, *lines = _runs(all_entries, plan)
    runs = "\n".join(markdown_table.lines(head, lines, "llrrll"))
    if folded:
        runs = FOLDED.format(count=len(lines), facts=", ".join(head[2:]), runs=runs)
    return _paragraphs(*parts, legend(all_entries), runs)


def single(table: Table, entries: Sequence[Entry]) -> str:
    """One table of an experiment with a legend, without the runs."""
    one_n, mixed = len(sample_sizes(entries)) == 1, len(examples(entries)) > 1
    return _paragraphs(*_table(table, entries, one_n, mixed), legend(entries))


def _paragraphs(*parts: str) -> str:
    """The parts that are not empty, with empty lines between them."""
    return "\n\n".join(part.strip() for part in parts if part and part.strip()) + "\n"


def _table(
    table: Table, entries: Sequence[Entry], one_n: bool, mixed: bool
) -> tuple[str, str, str]:
    """Title, lines and note of a table.

    Args:
      table: which one.
      entries: its numbers.
      one_n: True if the legend has the number of seeds.
      mixed: True if only some of the experiment's runs are evaluated on held-out images.
    """
    title = f"*{table.title}*" if table.title else ""
    if len(table.columns) > 1:
        lines, common = _grid(table, entries, mixed), _common(entries, one_n)
        title = f"{title} ({common})" if title and common else title or common
    else:
        lines = _list(entries, mixed)
    return title, "\n".join(lines), table.note


def _list(entries: Sequence[Entry], mixed: bool) -> list[str]:
    """A table of one column: a line per row with mean and n; paper, difference and mark, or limits,
    where a row has them.
    """
    papers = any(e.paper is not None for e in entries)
    limited = any(e.cell.at_least is not None or e.cell.at_most is not None for e in entries)
    head = ["", "ours", "", "n"] + ["paper", "difference", ""] * papers + ["asked for"] * limited
    lines = []
    for e in entries:
        n = str(len(e.values)) if e.values and isinstance(e.cell, Cell) else ""
        name = " ".join([e.cell.row, *cell_text.caveats(e, mixed)])
        line = [name, cell_text.mean(e), e.cell.unit, n]
        if papers:
            mark = cell_text.MARK if e.marked else ""
            line += [cell_text.paper(e), cell_text.difference(e), mark]
        lines.append([*line, cell_text.limits(e)] if limited else line)
    return markdown_table.lines(head, lines, "lrlr" + "rrl" * papers + "l" * limited)


def _grid(table: Table, entries: Sequence[Entry], mixed: bool) -> list[str]:
    """A table of several columns, with the paper's number and the difference below each mean."""
    by_place = {(e.cell.row, e.cell.column): e for e in entries}
    one_n, one_unit = len(sample_sizes(entries)) < 2, len(_units(entries)) < 2
    of_column = {c: _units(e for e in entries if e.cell.column == c) for c in table.columns}
    by_column = not one_unit and all(len(units) < 2 for units in of_column.values())
    head = [f"{c} ({''.join(of_column[c])})" if by_column else c for c in table.columns]
    head = [text.removesuffix(" ()") for text in head]
    lines = []
    for row in table.rows:
        line = [row]
        for column in table.columns:
            e = by_place.get((row, column))
            line.append("–" if e is None else _grid_cell(e, one_n, one_unit or by_column, mixed))
        lines.append(line)
    return markdown_table.lines(["", *head], lines, "l" + "r" * len(table.columns))


def _grid_cell(e: Entry, one_n: bool, one_unit: bool, mixed: bool) -> str:
    """A cell of a grid, with unit and n where they differ between the table's cells.

    What is computed from other cells, as a difference is, has no n: its value is one number.
    """
    unit = "" if one_unit or not e.values or not e.cell.unit else f" {e.cell.unit}"
    n = f", n = {len(e.values)}" if e.values and isinstance(e.cell, Cell) and not one_n else ""
    text = cell_text.mean(e) + unit + n + (f" {cell_text.MARK}" if e.marked else "")
    text += "".join(f"<br>{caveat}" for caveat in cell_text.caveats(e, mixed))
    if e.paper is not None:
        difference = f", {cell_text.difference(e)}" if e.difference is not None else ""
        text += f"<br>paper {cell_text.paper(e)}{difference}"
    limits = cell_text.limits(e)
    return text + (f"<br>{limits}" if limits else "")


def _units(entries: Iterable[Entry]) -> set[str]:
    return {e.cell.unit for e in entries if isinstance(e.cell, Cell | Contrast)}


def _common(entries: Sequence[Entry], one_n: bool) -> str:
    """What all cells of a grid have in common: their unit; n, unless the legend has it."""
    units, ns = _units(entries), sample_sizes(entries)
    parts = [*units] if len(units) == 1 else []
    parts += [f"n = {n}" for n in ns] if len(ns) == 1 and not one_n else []
    return ", ".join(filter(None, parts))


def _runs(entries: Iterable[Entry], plan: Mapping[str, Run]) -> list[list[str]]:
    """The head of the table of runs, and a line for each: cells, time, budget, hardware, commit."""
    lines, seen = [["run", "cells", "time", "budget", "hardware", "commit"]], set()
    for e in entries:
        if not isinstance(e.cell, Cell):
            continue
        run = plan[e.cell.reference]
        if run.identity in seen:
            continue
        seen.add(run.identity)
        budget = "" if e.cell.budget is None else f"{e.cell.budget:zg} min"
        names = list(dict.fromkeys(cell.name for cell in run.cells))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        line = [f"`{run.reference}`", names[0] + more, time(e.facts), budget]
        lines.append([*line, markdown_text(hardware(e.facts)), markdown_text(commit(e.facts))])
    return lines
