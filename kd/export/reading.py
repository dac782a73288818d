"""Reading an export back: what is consumed is first compared with its recorded hash.

`report.json` holds the sha256 of every other file, and one of its own content. That reveals damage
and edits by hand; whoever replaces a file and its hashes on purpose is not noticed, for nothing is
signed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kd.errors import InputError
from kd.export.directory import MARK, recover
from kd.files.parsers import parse_json

SEAL = "sha256"
"""Key of `report.json`: hash of all its other entries. Reports of earlier versions lack it."""


def sealed(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report with the hash of its content."""
    content = json.loads(json.dumps({k: v for k, v in report.items() if k != SEAL}))
    return {**content, SEAL: _hash(content)}


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read(export: Path, names: Iterable[str] = ()) -> dict[str, Any]:
    """The content of an export's `report.json`, after it and some files were compared with their
    hashes.

    Args:
      export: the directory.
      names: of the files that the caller is going to use.

    Raises:
      InputError: the directory is no export, or something in it is damaged, changed or missing.
    """
    recover(export)
    path = export / MARK
    try:
        report = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{export} is no export: it has no {MARK}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise _damaged(export, f"{MARK} cannot be read: {error}") from error
    if not isinstance(report, dict) or not isinstance(report.get("files"), dict):
        raise _damaged(export, f"{MARK} is no report of an export")
    if SEAL in report and sealed(report)[SEAL] != report[SEAL]:
        raise _damaged(export, f"{MARK} is not as it was written: its content has another sha256")
    for name in names:
        verify(export, report, name)
    return report


def verify(export: Path, report: Mapping[str, Any], name: str) -> bytes:
    """The content of a file of an export. Raises InputError unless it is the one recorded in
    `report`.
    """
    entry = report["files"].get(name)
    if not isinstance(entry, dict):
        raise _damaged(export, f"{MARK} records no file {name}")
    try:
        content = (export / name).read_bytes()
    except OSError as error:
        raise _damaged(export, f"{name} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.get("sha256"):
        raise _damaged(
            export,
            f"{name} is not the file that was exported: it has {len(content):,} bytes and sha256 "
            f"{digest[:12]}..., {MARK} records {entry.get('bytes')} and "
            f"{str(entry.get('sha256'))[:12]}...",
        )
    return content


def _damaged(export: Path, why: str) -> InputError:
    return InputError(f"{export} is damaged: {why}. Remove it, and export the run again.")
