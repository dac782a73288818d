"""The numbers of a table: mean and spread of each cell over seeds. NumPy only."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kd.metrics.limits import at_least, at_most
from kd.tables.contrast import EXAMPLES, SEEDS, Comparison, better, corrected
from kd.tables.results import Result, compare
from kd.tables.table import AnyCell, Cell, Claim, Contrast, Gap, Ratio, Table


@dataclasses.dataclass(frozen=True)
class Entry:
    """A cell with its numbers.

    Attributes:
      cell: which one.
      values: one for each seed; empty if the run is missing.
      mean: over seeds.
      std: over seeds, with n - 1 degrees of freedom; None for n = 1.
      error: standard error of the mean.
      paper: the paper's number.
      unsure: True if the paper's number could not be verified.
      facts: of the run, such as `seconds`.
      comparison: of a contrast, whose `mean` is the difference.
    """

    cell: AnyCell
    values: Sequence[float]
    mean: float = math.nan
    std: float | None = None
    error: float | None = None
    paper: float | None = None
    unsure: bool = False
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    comparison: Comparison | None = None

    @property
    def verdict(self) -> str:
        """Of a contrast with an interval: better, worse, not significant; otherwise ""."""
        if self.comparison is None or not isinstance(self.cell, Contrast):
            return ""
        return self.comparison.verdict(better(self.cell))

    @property
    def held_out(self) -> bool:
        """True if it was measured on held-out training images (`config.holdout`)."""
        return self.facts.get("split", "test") != "test"

    @property
    def difference(self) -> float | None:
        """Mean minus the paper's number; None if either is missing or the paper's is unsure."""
        if not self.values or self.paper is None or self.unsure or not math.isfinite(self.mean):
            return None
        return self.mean - self.paper

    @property
    def marked(self) -> bool:
        """True if the difference exceeds two standard errors of our mean."""
        if self.difference is None or self.error is None:
            return False
        return not at_most(abs(self.difference), 2 * self.error)

    @property
    def met(self) -> bool | None:
        """True if the mean is within the required limits; None without limits or a mean."""
        cell = self.cell
        if not self.values or (cell.at_least is None and cell.at_most is None):
            return None
        if isinstance(cell, Gap) and not math.isfinite(self.mean):
            return None  # there is no gap
        low = -math.inf if cell.at_least is None else cell.at_least
        high = math.inf if cell.at_most is None else cell.at_most
        return at_least(self.mean, low) and at_most(self.mean, high)


def measure(table: Table, find: Callable[[Cell], Result | None]) -> list[Entry]:
    """The table's cells in their order, with their numbers.

    Args:
      table: which one.
      find: returns the result of a cell's run, None if it is missing.
    """
    entries: dict[tuple[str, str], Entry] = {}
    for cell in table.entries():
        if isinstance(cell, Cell):
            entry = _entry(cell, find(cell))
        elif isinstance(cell, Gap):
            entry = _gap_entry(cell, [entries[c.row, c.column] for c in cell.of])
        elif isinstance(cell, Ratio):
            entry = _ratio_entry(cell, [_entry(c, find(c)) for c in cell.of])
        else:
            entry = _contrast_entry(cell, [find(c) for c in cell.of])
        entries[cell.row, cell.column] = entry
    comparisons = corrected(
        {
            e.cell: e.comparison
            for e in entries.values()
            if isinstance(e.cell, Contrast) and e.comparison
        }
    )
    return [
        dataclasses.replace(e, comparison=comparisons.get(e.cell, e.comparison))
        if isinstance(e.cell, Contrast)
        else e
        for e in entries.values()
    ]


def _entry(cell: Cell, result: Result | None) -> Entry:
    values = (result.values(cell) if result else None) or []
    paper = cell.paper.value if cell.paper else None
    unsure = bool(cell.paper and cell.paper.unsure)
    if not values or result is None:
        return Entry(cell, [], paper=paper, unsure=unsure)
    n = len(values)
    std = float(np.std(values, ddof=1)) if n > 1 else None
    return Entry(
        cell,
        values,
        float(np.mean(values)),
        std,
        None if std is None else std / math.sqrt(n),
        paper,
        unsure,
        result.facts,
    )


def _gap_entry(cell: Gap, parts: Sequence[Entry]) -> Entry:
    """r = (a - b) / (a - c) of means, and its standard error to first order.

    That is the standard error of the mean of u_i = ((1 - r) a_i - b_i + r c_i) / (a - c). It holds
    whether or not the three are independent in a seed i: a student may be distilled from the
    teacher of its seed. It assumes the same seeds in all three.
    """
    papers = [p.paper for p in parts]
    paper = None if None in papers else _share(*papers)  # pyrefly: ignore
    paper = paper if paper is not None and math.isfinite(paper) else None
    unsure = any(p.unsure for p in parts)
    if not all(p.values for p in parts):
        return Entry(cell, [], paper=paper, unsure=unsure)
    share = _share(*(p.mean for p in parts))
    error, n = None, len(parts[0].values)
    if math.isfinite(share) and n > 1 and all(len(p.values) == n for p in parts):
        a, b, c = (np.asarray(p.values) for p in parts)
        u = ((1 - share) * a - b + share * c) / (parts[0].mean - parts[2].mean)
        error = float(np.std(u, ddof=1)) / math.sqrt(n)
    return Entry(cell, [share], share, None, error, paper, unsure)


def _ratio_entry(cell: Ratio, parts: Sequence[Entry]) -> Entry:
    """The ratio of two means, without an interval."""
    papers = [p.paper for p in parts]
    paper = None if None in papers or not papers[1] else papers[0] / papers[1]  # pyrefly: ignore
    unsure = any(p.unsure for p in parts)
    if not all(p.values for p in parts) or not parts[1].mean:
        return Entry(cell, [], paper=paper, unsure=unsure)
    value = parts[0].mean / parts[1].mean
    return Entry(cell, [value], value, paper=paper, unsure=unsure, facts=parts[0].facts)


def _contrast_entry(cell: Contrast, results: Sequence[Result | None]) -> Entry:
    """The difference of the means, and of the paper's numbers."""
    parts = [_entry(c, result) for c, result in zip(cell.of, results, strict=True)]
    papers = [part.paper for part in parts if part.paper is not None]
    paper = _sum(cell, papers) if len(papers) == len(parts) else None
    unsure = any(part.unsure for part in parts)
    known = [result for result in results if result is not None]
    if len(known) < len(parts) or not all(part.values for part in parts):
        return Entry(cell, [], paper=paper, unsure=unsure)
    value = _sum(cell, [part.mean for part in parts])
    comparison = compare(cell, known)
    if comparison.over != EXAMPLES:  # not all runs are here with their predictions
        comparison = known[0].compared(cell, value) or comparison
    if comparison.over != SEEDS and min(len(part.values) for part in parts) == 1:
        comparison = dataclasses.replace(comparison, single=True)
    facts = parts[0].facts
    return Entry(
        cell, [value], value, paper=paper, unsure=unsure, facts=facts, comparison=comparison
    )


def _sum(cell: Contrast, numbers: Sequence[float]) -> float:
    return sum(w * number for w, number in zip(cell.weights, numbers, strict=True))


def of_claim(claim: Claim | None, find: Callable[[Cell], Result | None]) -> list[Entry]:
    """The contrasts of a claim's hypotheses, with their numbers; of no claim none.

    Args:
      claim: of an experiment.
      find: see `measure`.
    """
    contrasts = [hypothesis.contrast for hypothesis in claim.hypotheses] if claim else []
    return [_contrast_entry(contrast, [find(c) for c in contrast.of]) for contrast in contrasts]


def _share(a: float, b: float, c: float) -> float:
    return (a - b) / (a - c) if a != c else math.nan
