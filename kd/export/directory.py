"""Directories that appear whole or not at all."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kd.errors import InputError

MARK = "report.json"
"""Written last: a directory without it is no export."""

CARD = "model_card.md"
"""Beside it in every export: `kd report` writes a `report.json`, too."""


def check(out: Path) -> None:
    """Raises InputError where something that is no export stands in the way."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file. Give another --out.")
    whole = all((out / name).exists() for name in (MARK, CARD))
    if out.is_dir() and any(out.iterdir()) and not whole:
        raise InputError(
            f"{out} holds other things than an export, and would be replaced. Give another --out."
        )


@contextlib.contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A directory to write into, which becomes `out`, in place of an earlier export, when the block
    ends without an error.

    On any error, a full disk too, it is removed, and what was at `out` stays as it was.
    """
    check(out)
    made = [parent for parent in out.parents if not parent.exists()]
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
        with contextlib.suppress(OSError):  # the export is there
            for parent in made:
                parent.rmdir()
