"""The log of a run: what its process wrote to stderr, `RUN.log` beside the run directory.

A process cannot append to a file in a bucket. There the log is written below `LOCAL`, in the
working directory, and copied to the bucket from time to time.
"""

import contextlib
import os
from pathlib import Path

from etils import epath

from kd.runs import buckets
from kd.runs.workdir import Workdir

LOCAL = "kd-logs"
"""Directory, in the working directory, of the logs of runs in buckets."""

HEAD = "kd run: "
"""How a message of a run begins."""

SHOWN = 65536
"""Bytes at the end of a log that are looked at."""


def file(workdir: Workdir) -> Path:
    """The file that a process writes to."""
    name = f"{workdir}.log"
    if buckets.is_bucket(name):
        return Path(LOCAL) / name.partition("://")[2]
    return Path(name)


def copy(workdir: Workdir) -> None:
    """Copies the log of a run in a bucket there; a bucket that refuses it is no error."""
    if buckets.is_bucket(str(workdir)):
        with contextlib.suppress(Exception):
            epath.Path(f"{workdir}.log").write_bytes(file(workdir).read_bytes())


def lines(workdir: Workdir) -> list[str]:
    """The last lines of the log; none if there is no file."""
    try:
        with file(workdir).open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - SHOWN))
            return log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return []


def error(workdir: Workdir) -> str:
    """The last message of `kd run` in the log, on one line; "" if there is none."""
    text = lines(workdir)
    messages = [i for i, line in enumerate(text) if line.startswith(HEAD)]
    if not messages:
        return ""
    message = " ".join(line.strip() for line in text[messages[-1] :])
    return message.removeprefix(HEAD)
