"""Writes tables of measured numbers between the markers of a document, so that none is typed."""

import importlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import certificates, methods, record
from benchmarks.record import NAMES
from kd.tables.document import embed

DOCUMENTS = ("docs/cluster.md", "docs/methods.md", "docs/performance.md", "docs/verify.md")
"""Files of this repository that may have such tables."""


def _table_of(name: str) -> Callable[[], list[list[str]]]:
    rows = lambda: record.marked(record.rows(name))
    return lambda: importlib.import_module(f"benchmarks.{name}").table(rows())


TABLES: dict[str, Callable[[], list[list[str]]]] = {
    "methods": methods.full,
    "machines": record.machines,
    **{name: _table_of(name) for name in NAMES},
    **{
        f"certificates-{make.__name__}-{name}": partial(make, parts)
        for name, parts in certificates.PARTS.items()
        for make in (
            certificates.table,
            certificates.agreement,
            certificates.difference,
            certificates.setting,
        )
    },
}
"""Makes the lines of cells, by the name in `<!-- table: benchmarks/NAME -->`. An experiment of the
same name, such as methods, has other markers.
"""


def fill(text: str) -> str:
    """The document with each of TABLES, from the stored results, between its markers."""
    for name, lines in TABLES.items():
        marker = f"benchmarks/{name}"
        if re.search(f"^<!-- table: {re.escape(marker)} -->$", text, re.MULTILINE):
            text = embed(text, marker, record.markdown(lines()))
    return text


def write(path: Path) -> None:
    """Applies `fill` to a file."""
    path.write_text(fill(path.read_text()))
