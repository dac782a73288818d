"""The legend of a table: what its signs mean, and what the numbers have in common."""

from collections.abc import Iterable, Sequence

from kd.files.escaping import markdown
from kd.tables.cell_text import HELD_OUT, MARK
from kd.tables.contrast import SIGNIFICANT, how_tested
from kd.tables.measure import Entry
from kd.tables.table import Cell


def legend(entries: Sequence[Entry]) -> str:
    """The sentences that apply to these cells."""
    cells = [e.cell for e in entries if isinstance(e.cell, Cell)]
    ns = sorted(sample_sizes(entries))
    n = f" = {ns[0]}" if len(ns) == 1 else ""
    sentences = [f"Mean ± standard deviation over n{n} seeds, last epoch."]
    if ns == [1]:
        sentences = ["One seed (n = 1), last epoch."]
    best = dict.fromkeys((c.name, c.why.rstrip(".")) for c in cells if c.select == "best_test")
    sentences += [f"Best epoch on the test set in {name}: {why}." for name, why in best]
    sources = dict.fromkeys(c.paper.source for c in cells if c.paper)
    if sources:
        sentences.append(
            f"{MARK}: the difference exceeds two standard errors of our mean. Paper: "
            f"{'; '.join(sources)}."
        )
    sentences += _contrasts(entries)
    if any(e.cell.at_least is not None or e.cell.at_most is not None for e in entries):
        sentences.append("Asked for: the limit that the experiment sets, and whether it is met.")
    images = examples(entries)
    if True in images:
        which = f"{HELD_OUT}: on" if len(images) > 1 else "On"
        sentences.append(
            f"{which} {' or '.join(images[True])} held-out training images, not on the test set."
        )
    if any(
        len(e.values) == 1 and e.difference is not None for e in entries if isinstance(e.cell, Cell)
    ):
        sentences.append("One seed has no standard error, and no mark.")
    if any(e.unsure for e in entries):
        sentences.append("[ ]: a number of the paper that we could not verify.")
    return " ".join(sentences)


def _contrasts(entries: Iterable[Entry]) -> list[str]:
    """How differences were tested."""
    by, remark = how_tested(e.comparison for e in entries)
    if not by:
        return []
    text = (
        f"[a, b] behind a difference: its 95 % interval, by {by}. Better, worse: p < "
        f"{SIGNIFICANT} after Holm's correction over the differences of a column; the intervals "
        "are without it, so that one may exclude 0 though the difference is not significant."
    )
    return [text, remark] if remark else [text]


def sample_sizes(entries: Iterable[Entry]) -> set[int]:
    """Numbers of seeds that the means are over."""
    return {len(e.values) for e in entries if e.values and isinstance(e.cell, Cell)}


def examples(entries: Iterable[Entry]) -> dict[bool, list[str]]:
    """Numbers of evaluated images, by whether they are held-out training images."""
    numbers: dict[bool, list[str]] = {}
    for e in entries:
        if e.values and isinstance(e.cell, Cell):
            known = numbers.setdefault(e.held_out, [])
            if (number := markdown(e.facts.get("examples"))) not in known:
                known.append(number)
    return numbers
