"""A table as Markdown, for people; see `sheet` for programs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kd.tables import derived
from kd.tables.measure import Entry
from kd.tables.plan import Run
from kd.tables.table import Cell, Experiment, Gap, Table

MARK = "✱"
CHOSEN = "chosen on test"
HELD_OUT = "held out"


def markdown(
    experiment: Experiment, entries: Sequence[list[Entry]], plan: Mapping[str, Run]
) -> str:
    """The whole experiment: its tables, what the signs mean, and the runs behind them."""
    parts = [f"**{experiment.title}**", experiment.note]
    everything = [entry for own in entries for entry in own]
    one_n = len(_ns(everything)) == 1  # which the legend says
    mixed = len(_examples(everything)) > 1
    for table, own in zip(experiment.tables, entries, strict=True):
        parts += _table(table, own, one_n, mixed)
    return _paragraphs(*parts, _legend(everything), "\n".join(_runs(everything, plan)))


def alone(table: Table, entries: Sequence[Entry]) -> str:
    """One table of an experiment and what its signs mean, without the runs behind it."""
    one_n, mixed = len(_ns(entries)) == 1, len(_examples(entries)) > 1
    return _paragraphs(*_table(table, entries, one_n, mixed), _legend(entries))


def _table(
    table: Table, entries: Sequence[Entry], one_n: bool, mixed: bool
) -> tuple[str, str, str]:
    """Its head, its lines, its note."""
    head = f"*{table.title}*" if table.title else ""
    if len(table.columns) > 1:
        lines, common = _grid(table, entries, mixed), _common(entries, one_n)
        head = f"{head} ({common})" if head and common else head or common
    else:
        lines = _list(entries, mixed)
    return head, "\n".join(lines), table.note


def _paragraphs(*parts: str) -> str:
    """The parts one below the other, empty ones left out."""
    return "\n\n".join(part.strip() for part in parts if part and part.strip()) + "\n"


def _list(entries: Sequence[Entry], mixed: bool) -> list[str]:
    """One line a row: ours, n, the paper's, the difference, the mark, and what was asked for."""
    head = ["", "ours", "", "n", "paper", "difference", ""]
    judged = any(e.cell.at_least is not None or e.cell.at_most is not None for e in entries)
    lines = []
    for e in entries:
        n = str(len(e.values)) if e.values and isinstance(e.cell, Cell) else ""
        name = " ".join([e.cell.row, *_caveats(e, mixed)])
        line = [name, _ours(e), e.cell.unit, n, _paper(e), _difference(e)]
        line.append(MARK if e.marked else "")
        lines.append([*line, _asked(e)] if judged else line)
    return _lines([*head, "asked for"] if judged else head, lines, "lrlrrrll")


def _grid(table: Table, entries: Sequence[Entry], mixed: bool) -> list[str]:
    """Ours with the paper's number and the difference below it; unit and n where they are not the
    same in the whole table.
    """
    of = {(e.cell.row, e.cell.column): e for e in entries}
    alike, one_unit = len(_ns(entries)) < 2, len(_units(entries)) < 2
    lines = []
    for row in table.rows:
        line = [row]
        for column in table.columns:
            e = of.get((row, column))
            line.append("–" if e is None else _in_grid(e, alike, one_unit, mixed))
        lines.append(line)
    return _lines(["", *table.columns], lines, "l" + "r" * len(table.columns))


def _ns(entries: Iterable[Entry]) -> set[int]:
    """How many seeds the means are over."""
    return {len(e.values) for e in entries if e.values and isinstance(e.cell, Cell)}


def _units(entries: Iterable[Entry]) -> set[str]:
    return {e.cell.unit for e in entries if isinstance(e.cell, Cell)}


def _common(entries: Sequence[Entry], one_n: bool) -> str:
    """What holds for all cells of a grid: their unit, and n where the legend has none."""
    units, ns = _units(entries), _ns(entries)
    words = [*units] if len(units) == 1 else []
    words += [f"n = {n}" for n in ns] if len(ns) == 1 and not one_n else []
    return ", ".join(filter(None, words))


def _in_grid(e: Entry, alike: bool, one_unit: bool, mixed: bool) -> str:
    unit = "" if one_unit or not e.values or not e.cell.unit else f" {e.cell.unit}"
    n = "" if alike or not e.values else f", n = {len(e.values)}"
    text = _ours(e) + unit + n + (f" {MARK}" if e.marked else "")
    text += "".join(f"<br>{caveat}" for caveat in _caveats(e, mixed))
    if e.paper is not None:
        difference = f", {_difference(e)}" if e.difference is not None else ""
        text += f"<br>paper {_paper(e)}{difference}"
    return text + (f"<br>{_asked(e)}" if _asked(e) else "")


def _caveats(e: Entry, mixed: bool) -> list[str]:
    """What must be known of a number: chosen by looking at the test set; or, where others are not,
    of held-out images.
    """
    peeks = isinstance(e.cell, Cell) and derived.parse(e.cell.metric).peeks
    own = [CHOSEN] * peeks + [HELD_OUT] * (mixed and e.held_out)
    return [f"({word})" for word in own]


def _examples(entries: Iterable[Entry]) -> dict[bool, list[str]]:
    """How many images the numbers are of, by whether these are held-out training images."""
    found: dict[bool, list[str]] = {}
    for e in entries:
        if e.values and isinstance(e.cell, Cell):
            numbers = found.setdefault(e.held_out, [])
            if (number := str(e.facts.get("examples"))) not in numbers:
                numbers.append(number)
    return found


def _ours(e: Entry) -> str:
    if not e.values:
        return "missing"
    digits = e.cell.digits
    text = _number(e.mean, digits)
    if isinstance(e.cell, Gap):
        return text + (f" (s.e. {e.error:.{digits}f})" if e.error is not None else "")
    return text if e.std is None else f"{text} ± {e.std:.{digits}f}"


def _paper(e: Entry) -> str:
    if e.paper is None:
        return ""
    text = _number(round(e.paper, 4 if isinstance(e.cell, Cell) else e.cell.digits))
    return f"[{text}]" if e.unsure else text


def _difference(e: Entry) -> str:
    if e.difference is None:
        return ""
    return _number(e.difference, e.cell.digits, sign=True)


def _number(value: float, digits: int | None = None, sign: bool = False) -> str:
    plus = "+" if sign else ""
    text = format(value, f"{plus}g" if digits is None else f"{plus}.{digits}f")
    return text.replace("-", "−")


def _asked(e: Entry) -> str:
    cell = e.cell
    limits = [
        f"{sign} {_number(limit)}"
        for sign, limit in (("≥", cell.at_least), ("≤", cell.at_most))
        if limit is not None
    ]
    if not limits:
        return ""
    verdict = {True: "met", False: "not met", None: "open"}[e.met]
    return f"{' and '.join(limits)}: {verdict}"


def _legend(entries: Sequence[Entry]) -> str:
    cells = [e.cell for e in entries if isinstance(e.cell, Cell)]
    ns = sorted(_ns(entries))
    words = [
        f"Mean ± standard deviation over n{f' = {ns[0]}' if len(ns) == 1 else ''} seeds, last "
        "epoch."
    ]
    words += [
        f"Best epoch on the test set in {name}: {why}."
        for name, why in dict.fromkeys(
            (c.name, c.why.rstrip(".")) for c in cells if c.select == "best_test"
        )
    ]
    sources = dict.fromkeys(c.paper.source for c in cells if c.paper)
    if sources:
        words.append(
            f"{MARK}: the difference exceeds two standard errors of our mean. Paper: "
            f"{'; '.join(sources)}."
        )
    images = _examples(entries)
    if True in images:
        which = f"{HELD_OUT}: on" if len(images) > 1 else "On"
        words.append(
            f"{which} {' or '.join(images[True])} held-out training images, not on the test set."
        )
    if any(
        len(e.values) == 1 and e.difference is not None for e in entries if isinstance(e.cell, Cell)
    ):
        words.append("One seed has no standard error, and no mark.")
    if any(e.unsure for e in entries):
        words.append("[ ]: a number of the paper that we could not verify.")
    return " ".join(words)


def _runs(entries: Iterable[Entry], plan: Mapping[str, Run]) -> list[str]:
    """A line for each run behind the cells: how long it took, of which budget, on what, at which
    commit.
    """
    lines, seen = [], set()
    for e in entries:
        if isinstance(e.cell, Gap):
            continue
        run = plan[e.cell.reference]
        if run.identity in seen:
            continue
        seen.add(run.identity)
        budget = "" if e.cell.budget is None else f"{e.cell.budget:g} min"
        names = list(dict.fromkeys(cell.name for cell in run.cells))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        line = [f"`{run.reference}`", names[0] + more, _time(e.facts), budget]
        lines.append([*line, hardware(e.facts), _commit(e.facts)])
    head = ["run", "cells", "time", "budget", "hardware", "commit"]
    return _lines(head, lines, "llrrll")


def _time(facts: Mapping[str, Any]) -> str:
    seconds = facts.get("seconds")
    if seconds is None:
        return "missing"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def hardware(facts: Mapping[str, Any]) -> str:
    """On what a run was trained, in a few words; empty where that is not known."""
    found = facts.get("hardware")
    if not found:
        return ""
    if found["platform"] == "cpu":
        return f"{found['cores']} cores, {found['machine']}"
    return f"{found['devices']} × {found['device']}"


def _commit(facts: Mapping[str, Any]) -> str:
    commit = facts.get("git_commit") or ""
    return commit[:10] + "+" * commit.endswith("+")


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> list[str]:
    rules = {"l": ":---", "r": "---:"}
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in [head, [rules[a] for a in align[: len(head)]], *rows]
    ]
