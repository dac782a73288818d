"""Tables of measured numbers between the markers of a document, so that none is typed."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks import methods, record
from benchmarks.record import NAMES
from kd.tables.document import embed

DOCUMENTS = ("README.md", "docs/methods.md", "docs/performance.md")
"""Files of this repository that may hold them."""


def _of(name: str) -> Callable[[], list[list[str]]]:
    rows = lambda: record.marked(record.rows(name))
    return lambda: importlib.import_module(f"benchmarks.{name}").table(rows())


TABLES: dict[str, Callable[[], list[list[str]]]] = {
    "methods": methods.full,
    "methods in short": methods.short,
    **{name: _of(name) for name in NAMES},
}
"""Lines of cells by the name in `<!-- table: NAME -->`."""


def fill(text: str) -> str:
    """The document with each of TABLES that it has markers for as the results in this directory
    have it.
    """
    for name, lines in TABLES.items():
        if re.search(f"^<!-- table: {re.escape(name)} -->$", text, re.MULTILINE):
            text = embed(text, name, record.markdown(lines()))
    return text


def write(path: Path) -> None:
    """`fill` of a file."""
    path.write_text(fill(path.read_text()))
