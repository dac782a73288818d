"""What a report is built of: sections of blocks that HTML and Markdown each draw in their own
way.
"""

from typing import NamedTuple

type Grid = list[list[str]]
"""Lines of cells; the first line is the head."""


class Note(NamedTuple):
    """A paragraph."""

    text: str


class Points(NamedTuple):
    """Sentences, each on its own."""

    lines: list[str]


class Table(NamedTuple):
    """Cells; the first column is words, the others are numbers. With `fold`, a page hides it behind
    these words.
    """

    grid: Grid
    fold: str = ""


class Heat(NamedTuple):
    """Numbers up to 1, drawn as a table whose colours tell them; None where there is none."""

    corner: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]


class Figure(NamedTuple):
    """A drawing as SVG, and what it shows in words."""

    svg: str
    alt: str


class Pictures(NamedTuple):
    """A line of small pictures (PNG in base64), each with a caption; `title` stands before them."""

    title: str
    pictures: list[tuple[str, str]]


type Block = Note | Points | Table | Heat | Figure | Pictures


class Section(NamedTuple):
    """A heading, of level 2 or 3, and what stands under it."""

    title: str
    blocks: list[Block]
    level: int = 2
