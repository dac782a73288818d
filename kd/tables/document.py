"""Documents that show tables between markers, so that no number in them is typed by hand."""

import re
from collections.abc import Mapping

from kd.errors import InputError, unknown

END = "<!-- /table -->"


def fill(text: str, name: str, experiment: str, tables: Mapping[str, str]) -> str:
    """The document with an experiment between all markers that name it.

    Args:
      text: the document.
      name: of the experiment.
      experiment: all its tables, for `<!-- table: NAME -->`.
      tables: single tables by title, for `<!-- table: NAME: TITLE -->`.

    Raises:
      InputError: no marker names the experiment, or a marker names an unknown table.
    """
    contents = {f"{name}: {title}": table for title, table in tables.items()} | {name: experiment}
    begins = re.compile(f"^<!-- table: ({re.escape(name)}(?:: .*)?) -->$", re.MULTILINE)
    for marker in begins.findall(text) or [name]:
        if marker not in contents:
            raise unknown("table", marker, contents)
        text = embed(text, marker, contents[marker])
    return text


def embed(text: str, name: str, table: str) -> str:
    """The document with a table between the markers of this name.

    Raises:
      InputError: the markers are missing, or another table begins between them.
    """
    begin = f"<!-- table: {name} -->"
    pattern = re.compile(f"({re.escape(begin)}\n)(.*?)({re.escape(END)})", re.DOTALL)
    contents = [match[2] for match in pattern.finditer(text)]
    if not contents:
        raise InputError(f"no markers: expected a line {begin} and below it {END}.")
    if any("<!-- table" in content for content in contents):
        raise InputError(
            f"{begin} has no end before the next table begins: expected {END} below it. Nothing "
            "was written."
        )
    return pattern.sub(lambda match: match[1] + table + match[3], text)
