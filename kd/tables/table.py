"""Data of an experiment's tables: cells with a run, a metric and the paper's number."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Paper:
    """A number of a paper.

    Attributes:
      value: the number.
      source: paper and table.
      unsure: True if the number could not be verified.
    """

    value: float
    source: str
    unsure: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
    """A metric of a run, and the paper's number. `kd.tables.settings` describes the settings."""

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
        """Row and column."""
        return f"{self.row}, {self.column}" if self.column else self.row


@dataclasses.dataclass(frozen=True)
class Gap:
    """The share (a - b) / (a - c) of three cells' means: how much of the gap from a to c b closes.

    Attributes:
      row: its name.
      column: its name.
      of: the cells a, b, c.
      at_least: required minimum.
      at_most: required maximum.
      digits: after the decimal point.
      unit: none.
    """

    row: str
    column: str
    of: tuple[Cell, Cell, Cell]
    at_least: float | None = None
    at_most: float | None = None
    digits: int = 2
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The mean of a cell over that of a baseline, such as the time of an update over that of KD.

    Attributes:
      row: its name.
      column: its name.
      of: the cell and the baseline.
      at_least: required minimum.
      at_most: required maximum.
      digits: after the decimal point.
      unit: none.
    """

    row: str
    column: str
    of: tuple[Cell, Cell]
    at_least: float | None = None
    at_most: float | None = None
    digits: int = 2
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Contrast:
    """The difference of two cells' means, one minus its baseline; or a linear contrast of several.

    Attributes:
      row: its name.
      column: its name.
      of: the cell and the baseline; or the cell and several that it is compared with.
      at_least: required minimum.
      at_most: required maximum.
      digits: after the decimal point.
      unit: of all cells.
      weights: of the cells in the sum.
      bounds: other values than zero that it is compared with.
    """

    row: str
    column: str
    of: tuple[Cell, ...]
    at_least: float | None = None
    at_most: float | None = None
    digits: int = 2
    unit: str = ""
    weights: tuple[float, ...] = (1.0, -1.0)
    bounds: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """Row and column."""
        return f"{self.row}, {self.column}" if self.column else self.row


type AnyCell = Cell | Gap | Ratio | Contrast


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows and columns in their order; not every pair of them has a cell.

    Attributes:
      title: printed above it.
      note: printed below it.
      rows: their names.
      columns: their names.
      cells: by row and column.
      against: a fact of the runs, such as "bytes", to plot the metric against; see
        `kd.tables.facts`; "" for no plot.
    """

    title: str
    note: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], AnyCell]
    against: str = ""

    def entries(self) -> Iterator[AnyCell]:
        """Its cells, row by row."""
        for row in self.rows:
            for column in self.columns:
                if (row, column) in self.cells:
                    yield self.cells[row, column]


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """What a claim says of a contrast: `sign` (contrast - than) > 0.

    Attributes:
      contrast: its name is the hypothesis in words; tested against `than`, and `reach` if any.
      sign: 1 if the contrast is said to be greater than `than`, -1 if less.
      than: usually 0.
      size: how far beyond `than` the claim says that it is at least; None if it does not say.
    """

    contrast: Contrast
    sign: int
    than: float = 0.0
    size: float | None = None

    @property
    def reach(self) -> float | None:
        """The least contrast that is of the claimed size."""
        return None if self.size is None else self.than + self.sign * self.size


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a paper claims, and what would show it.

    Attributes:
      sentence: the claim.
      paper: with section or table.
      on: data, networks and size that it is tested on.
      hypotheses: all of which must hold.
    """

    sentence: str
    paper: str
    on: str
    hypotheses: tuple[Hypothesis, ...]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The tables of an experiment file.

    Attributes:
      name: FILE, or FILE-arguments.
      title: printed above the tables.
      note: printed below the title.
      tables: in their order.
      published: path of its published results, which may not exist.
      claim: what it tests, if it tests a claim.
    """

    name: str
    title: str
    note: str
    tables: tuple[Table, ...]
    published: Path
    claim: Claim | None = None

    def cells(self) -> list[Cell]:
        """All cells that are a metric of a run, then those that others are compared with."""
        number = lambda cell: (cell.reference, cell.metric, cell.select)
        shown = [c for t in self.tables for c in t.entries() if isinstance(c, Cell)]
        ratios = [e for t in self.tables for e in t.entries() if isinstance(e, Ratio)]
        compared = {number(c): c for entry in (*self.contrasts(), *ratios) for c in entry.of}
        numbers = {number(cell) for cell in shown}
        return [*shown, *(cell for key, cell in compared.items() if key not in numbers)]

    def contrasts(self) -> list[Contrast]:
        """All contrasts, those of the claim last."""
        shown = [e for table in self.tables for e in table.entries() if isinstance(e, Contrast)]
        return [*shown, *(h.contrast for h in self.claim.hypotheses)] if self.claim else shown
