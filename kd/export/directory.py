"""Export directories, which are written completely or not at all."""

import contextlib
from collections.abc import Generator
from pathlib import Path

from kd.errors import InputError
from kd.files.directories import recover, replacing

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
def complete(out: Path) -> Generator[Path]:
    """A temporary directory to write into, which replaces `out` when the block ends; see
    `kd.files.directories.replacing`. Raises InputError where `out` is no export.
    """
    recover(out)
    check(out)
    with replacing(out) as building:
        yield building
