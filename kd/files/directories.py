"""Directories that are written completely or not at all, and replace an earlier one.

Where the system can exchange two directories in one step, one of the two is in place at every
moment. Elsewhere two renames do it, and after a kill between them `recover` brings the earlier one
back.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from kd.files.writing import refusals

PART = ".part"
"""End of the name of a directory that is being written."""

EARLIER = "-earlier"
"""End of the name of a directory that is being replaced by two renames."""

AT_WORKING_DIRECTORY = -100
EXCHANGE = 2
"""Flag RENAME_EXCHANGE of Linux's renameat2."""


@contextlib.contextmanager
def replacing(out: Path) -> Generator[Path]:
    """A directory to write into, beside `out`, which it replaces when the block ends.

    On any error, a full disk too, it is removed, and `out` stays as it was. What a killed process
    has left beside `out` is removed, or brought back where it is all that is left.

    Raises:
      RunError: the system refuses to write it.
    """
    created = [parent for parent in out.parents if not parent.exists()]
    with refusals(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        recover(out)
        building = Path(tempfile.mkdtemp(PART, f".{out.name}-", out.parent))
        lock = _lock(building)
        try:
            building.chmod(0o755)
            yield building
            _replace(building, out)
        finally:
            shutil.rmtree(building, ignore_errors=True)
            if lock is not None:
                os.close(lock)
            with contextlib.suppress(OSError):  # not empty: it holds the directory
                for parent in created:
                    parent.rmdir()


def recover(out: Path) -> None:
    """Brings back an earlier directory where a kill has left `out` missing, and removes what killed
    processes have left beside it. Directories that another process still writes stay.
    """
    if not out.parent.is_dir():
        return
    left = [path for path in out.parent.iterdir() if _is_left(path, out)]
    for path in sorted(left, key=lambda p: not p.name.endswith(EARLIER)):
        lock = _lock(path)
        if lock is None:
            continue
        try:
            if path.name.endswith(EARLIER) and not out.exists():
                path.rename(out)
            else:
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _replace(building: Path, out: Path) -> None:
    if not out.exists():
        building.rename(out)
    elif exchange(building, out):
        shutil.rmtree(building)
    else:
        earlier = building.with_name(building.name + EARLIER)
        out.rename(earlier)
        try:
            building.rename(out)
        except OSError:
            earlier.rename(out)
            raise
        shutil.rmtree(earlier)


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two paths in one step; False where this system or file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    paths = (os.fsencode(one), os.fsencode(other))
    return not rename(AT_WORKING_DIRECTORY, paths[0], AT_WORKING_DIRECTORY, paths[1], EXCHANGE)


def _is_left(path: Path, out: Path) -> bool:
    """Whether a path has the name of a directory of `replacing`."""
    pattern = rf"\.{re.escape(out.name)}-[a-z0-9_]{{8}}({PART}|({PART})?{EARLIER})"
    return bool(re.fullmatch(pattern, path.name)) and path.is_dir() and not path.is_symlink()


def _lock(directory: Path) -> int | None:
    """A descriptor that locks a directory until it is closed or its process ends; None where
    another process has locked it.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
