"""The blocks that a report consists of; HTML and Markdown each draw them in their own way."""

from collections.abc import Sequence
from typing import NamedTuple

type Grid = list[list[str]]
"""Rows of cells; the first row is the head."""


class Heading(NamedTuple):
    """A heading of level 2 or 3."""

    text: str
    level: int = 2


class Note(NamedTuple):
    """A paragraph."""

    text: str


class Points(NamedTuple):
    """A list of sentences."""

    lines: list[str]


class Table(NamedTuple):
    """Cells; the first column is text, the others are numbers. With `fold`, a page hides the table
    behind this text.
    """

    grid: Grid
    fold: str = ""


class Facts(NamedTuple):
    """Pairs of a name and what is said of it; a page sets those in `code` as code."""

    items: Sequence[Sequence[str]]
    code: tuple[str, ...] = ()


class Heat(NamedTuple):
    """Numbers up to 1 as a table with coloured cells; None for a missing number. `fold` is as in
    `Table`.
    """

    corner: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    fold: str = ""


class Figure(NamedTuple):
    """A drawing as SVG, and its description."""

    svg: str
    alt: str


class Pictures(NamedTuple):
    """A titled line of small pictures (PNG in base64, or None), each with a caption."""

    title: str
    pictures: list[tuple[str, str]]


type Block = Heading | Note | Points | Table | Facts | Heat | Figure | Pictures
