"""What an experiment's tables are made of: cells, each with its run, its metric and the paper's
number. See `experiment`.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Paper:
    """A number of the paper and where in it."""

    value: float
    source: str
    unsure: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number of the table: a metric of a run, beside the paper's."""

    row: str
    column: str
    reference: str  # FILE.py:arguments of the run's config
    metric: str
    unit: str
    digits: int
    select: str
    why: str
    paper: Paper | None
    at_least: float | None
    at_most: float | None
    budget: float | None

    @property
    def name(self) -> str:
        return f"{self.row}, {self.column}" if self.column else self.row


@dataclasses.dataclass(frozen=True)
class Gap:
    """The share (a - b) / (a - c) of three cells' means: how much of the gap from a to c is closed
    by b.
    """

    row: str
    column: str
    of: tuple[Cell, Cell, Cell]
    at_least: float | None = None
    at_most: float | None = None
    digits: int = 2
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows and columns in their order; a pair that has no cell is one that the paper does not have
    either.
    """

    title: str
    note: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], Cell | Gap]
    against: str = ""  # fact of the runs, such as "bytes", to plot the metric against

    def entries(self) -> Iterator[Cell | Gap]:
        """Its cells, row by row."""
        for row in self.rows:
            for column in self.columns:
                if (row, column) in self.cells:
                    yield self.cells[row, column]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The tables of one experiment file."""

    name: str  # FILE, or FILE-arguments
    title: str
    note: str
    tables: tuple[Table, ...]
    published: Path  # where its published results are or would be

    def cells(self) -> list[Cell]:
        """All cells that are a metric of a run."""
        return [c for t in self.tables for c in t.entries() if isinstance(c, Cell)]
