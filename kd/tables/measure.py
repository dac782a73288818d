"""The numbers of a table: each cell's mean and spread over seeds, beside the paper's number. NumPy
alone.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kd.metrics.intervals import at_least, at_most
from kd.tables.results import Result
from kd.tables.table import Cell, Gap, Table


@dataclasses.dataclass(frozen=True)
class Entry:
    """A cell with its numbers. `values` is empty where the run is missing."""

    cell: Cell | Gap
    values: Sequence[float]
    mean: float = math.nan
    std: float | None = None  # over seeds, with n - 1 degrees of freedom; None for n = 1
    error: float | None = None  # standard error of the mean
    paper: float | None = None
    unsure: bool = False
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def held_out(self) -> bool:
        """Whether it was measured on held-out training images (`config.holdout`) and not on the
        test set.
        """
        return self.facts.get("split", "test") != "test"

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, None where either is missing or the paper's is unsure."""
        known = self.values and self.paper is not None and not self.unsure
        return self.mean - self.paper if known else None  # pyrefly: ignore

    @property
    def marked(self) -> bool:
        """Whether the difference exceeds two standard errors of our mean."""
        known = self.difference is not None and self.error is not None
        return known and abs(self.difference) > 2 * self.error  # pyrefly: ignore

    @property
    def met(self) -> bool | None:
        """Whether the mean is as large, or as small, as was asked for; None where nothing was, or
        it is missing.
        """
        cell = self.cell
        if not self.values or (cell.at_least is None and cell.at_most is None):
            return None
        low = -math.inf if cell.at_least is None else cell.at_least
        high = math.inf if cell.at_most is None else cell.at_most
        return at_least(self.mean, low) and at_most(self.mean, high)


def measure(table: Table, find: Callable[[Cell], Result | None]) -> list[Entry]:
    """The table's cells in their order, with their numbers. `find` gives the result of a cell's
    run, None where missing.
    """
    of: dict[tuple[str, str], Entry] = {}
    for cell in table.entries():
        if isinstance(cell, Cell):
            of[cell.row, cell.column] = _entry(cell, find(cell))
        else:
            parts = [of[c.row, c.column] for c in cell.of]
            of[cell.row, cell.column] = _gap_entry(cell, parts)
    return list(of.values())


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

    That is the standard error of the mean of u_i = ((1 - r) a_i - b_i + r c_i) / (a - c), whether
    or not the three are independent in a seed i: a student may have learnt from the teacher of its
    own seed. It takes the same seeds in all three.
    """
    papers = [p.paper for p in parts]
    paper = None if None in papers else _share(*papers)  # pyrefly: ignore
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


def _share(a: float, b: float, c: float) -> float:
    return (a - b) / (a - c) if a != c else math.nan
