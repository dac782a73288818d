"""What libraries print from C, which goes around Python's streams."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


class Heard:
    """What was printed; whole when the context ends."""

    text = ""


@contextlib.contextmanager
def hear() -> Iterator[Heard]:
    """Keeps what is printed to the process's output and error streams off them, for who wants to
    read it.
    """
    heard = Heard()
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = [os.dup(number) for number in (1, 2)]
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield heard
        finally:
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            heard.text = file.read().decode(errors="replace")
