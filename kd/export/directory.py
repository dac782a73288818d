"""Export directories, which are written completely or not at all."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kd.errors import InputError
from kd.files import refusals

MARK = "report.json"
"""Written last: a directory without it is not an export."""

CARD = "model_card.md"
"""In every export; tells it from the directory of `kd report`, which has a `report.json`, too."""


def check(out: Path) -> None:
    """Raises InputError where `out` exists and is not an export."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file. Give another --out.")
    is_export = all((out / name).exists() for name in (MARK, CARD))
    if out.is_dir() and any(out.iterdir()) and not is_export:
        raise InputError(
            f"{out} holds other things than an export, and would be replaced. Give another --out."
        )


@contextlib.contextmanager
def complete(out: Path) -> Iterator[Path]:
    """A temporary directory to write into, which replaces `out` when the block ends.

    On any error, a full disk too, it is removed, and `out` stays as it was.
    """
    check(out)
    with refusals(out):
        yield from _complete(out)


def _complete(out: Path) -> Iterator[Path]:
    created = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        building.chmod(0o755)
        yield building
        if out.exists():
            earlier = building.with_name(building.name + "-earlier")
            out.rename(earlier)
            try:
                building.rename(out)
            except OSError:
                earlier.rename(out)
                raise
            shutil.rmtree(earlier)
        else:
            building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: it holds the export
            for parent in created:
                parent.rmdir()
