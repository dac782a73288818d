"""Captures what C libraries print, which bypasses Python's streams."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


class Printed:
    """The printed text, complete when the context ends."""

    text = ""


@contextlib.contextmanager
def capture() -> Iterator[Printed]:
    """Captures the process's output and error streams, of Python and of C."""
    printed = Printed()
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        copies = [os.dup(number) for number in (1, 2)]
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield printed
        finally:
            for number, copy in zip((1, 2), copies, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            printed.text = file.read().decode(errors="replace")
