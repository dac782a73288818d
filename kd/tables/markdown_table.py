"""The lines of a Markdown table."""

import re
from collections.abc import Iterable, Sequence

from kd.files.escaping import plain


def lines(head: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> list[str]:
    """A Markdown table; `align` has "l" or "r" for each column."""
    rules = {"l": ":---", "r": "---:"}
    return [
        "| " + " | ".join(_cell(cell) for cell in line) + " |"
        for line in [head, [rules[a] for a in align[: len(head)]], *rows]
    ]


def _cell(text: str) -> str:
    """A cell on one line; a | of an experiment's own names is no end of it."""
    return re.sub(r"(?<!\\)\|", r"\\|", plain(text))
