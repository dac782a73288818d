"""Documents that show tables between markers, so that no number in them is typed by hand."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from kd.errors import InputError, unknown
from kd.files.writing import replacing

END = "<!-- /table -->"


def read(file: str) -> str:
    """The text of a document, with \\n at the ends of its lines. Raises InputError."""
    path = Path(file)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"it cannot be read: {error}.") from error
    if not os.access(path, os.W_OK):
        raise InputError("it is read-only. Make it writable, or name another file.")
    return text


def write(file: str, text: str) -> None:
    """Writes a document: the file that a link names, with its mode and its ends of lines."""
    path = Path(file).resolve()
    newline = "\r\n" if b"\r\n" in path.read_bytes() else "\n"
    with replacing(path) as part:
        part.write_text(text, newline=newline)
        part.chmod(path.stat().st_mode)


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
    if len(contents) < text.count(f"{begin}\n"):
        raise InputError(f"the last {begin} has no end: expected {END} below it.")
    return pattern.sub(lambda match: match[1] + table + match[3], text)
