"""Documents that show tables between markers, so that no number in them is typed."""

import re
from collections.abc import Mapping

from kd.errors import InputError, unknown

END = "<!-- /table -->"


def fill(text: str, name: str, whole: str, single: Mapping[str, str]) -> str:
    """The text with an experiment between all markers that name it.

    Args:
      name: of the experiment; `<!-- table: NAME -->` begins the place of `whole`.
      single: its tables by title; `<!-- table: NAME: TITLE -->` begins the place of one of them.

    Raises:
      InputError: no marker names the experiment, or one a table that it does not have.
    """
    of = {f"{name}: {title}": table for title, table in single.items()} | {name: whole}
    begins = re.compile(f"^<!-- table: ({re.escape(name)}(?:: .*)?) -->$", re.MULTILINE)
    for marker in begins.findall(text) or [name]:
        if marker not in of:
            raise unknown("table", marker, of)
        text = embed(text, marker, of[marker])
    return text


def embed(text: str, name: str, table: str) -> str:
    """The text with the table between the markers of this name. Raises InputError where they are
    not there, or another's are between them.
    """
    begin = f"<!-- table: {name} -->"
    pattern = re.compile(f"({re.escape(begin)}\n)(.*?)({re.escape(END)})", re.DOTALL)
    found = [match[2] for match in pattern.finditer(text)]
    if not found:
        raise InputError(f"no markers: expected a line {begin} and below it {END}.")
    if any("<!-- table" in between for between in found):
        raise InputError(
            f"{begin} has no end before the next table begins: expected {END} below it. Nothing "
            "was written."
        )
    return pattern.sub(lambda m: m[1] + table + m[3], text)
