"""A file that a teacher comes from, identified by its content and not by its path."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kd.errors import InputError

DIRECTORIES = ("variables",)
"""Keys that may name a directory, such as a checkpoint of Orbax."""


def digest(path: str, key: str) -> str:
    """The sha256 of a file, 64 hexadecimal digits; of one that is unchanged it is computed once.
    Of a directory it is that of the names and the content of its files.

    Args:
      path: of the file.
      key: of the config that names it, for messages.

    Raises:
      InputError: there is no such file, or it cannot be read.
    """
    file = Path(path)
    try:
        if file.is_dir():
            if key not in DIRECTORIES:
                raise InputError(f"config.teacher.{key}: {path} is a directory; expected a file.")
            return _digest_all(str(file.absolute()), _stats(file))
        stat = file.stat()
        return _digest(str(file.absolute()), stat.st_mtime_ns, stat.st_size)
    except FileNotFoundError:
        raise InputError(
            f"config.teacher.{key}: there is no file {path!r}, seen from {Path.cwd()}. Give its "
            "path."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"config.teacher.{key}: {path!r} cannot be read: {reason}.") from error


def _stats(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """Path, time of change and size of each file in a directory."""
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    stats = [(str(file.relative_to(directory)), file.stat()) for file in files]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


@functools.lru_cache(maxsize=64)
def _digest_all(directory: str, stats: tuple[tuple[str, int, int], ...]) -> str:
    """The sha256 of the names and the sha256 of all files."""
    total = hashlib.sha256()
    for name, changed, size in stats:
        total.update(f"{name}\0{_digest(str(Path(directory) / name), changed, size)}\n".encode())
    return total.hexdigest()


@functools.lru_cache(maxsize=64)
def _digest(path: str, changed: int, size: int) -> str:
    del changed, size
    with Path(path).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def spelled(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """`Kind.spell` for a kind with the settings `key`, a file, and `digest`, its sha256.

    A digest that the config gives is kept: it is compared when the file is read.
    """

    def spell(section: dict[str, Any]) -> dict[str, Any]:
        if not section.get(key) or section["digest"]:
            return section
        return {**section, "digest": digest(section[key], key)}

    return spell


def require(path: str, expected: str, key: str) -> None:
    """Raises InputError where a file is missing or has another sha256 than the config names."""
    if not path:
        raise InputError(f"config.teacher.{key}: name a file.")
    actual = digest(path, key)
    if actual != expected:
        raise InputError(
            f"config.teacher.digest: {path} has the sha256 {actual[:12]}..., and the config names "
            f"{expected[:12]}...: it is another file now. Bring the earlier one back, or leave "
            "digest out."
        )
