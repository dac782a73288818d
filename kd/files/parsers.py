"""Reads JSON and `.npz` files that may be damaged or hostile: whole and as written, or not at all.

The parsers below end in a `ValueError` with the reason, whatever the bytes are. Callers add the
file's name and the remedy.
"""

import hashlib
import io
import json
import math
import struct
import zipfile
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from kd.errors import InputError

DEEPEST = 60
"""Levels of objects and lists that a JSON file may have. What `kd` writes has about ten."""

DIGESTS = "digests"
"""Key of a JSON file under which `with_digests` stores the digests of its values."""

_LOCAL_LENGTHS = 26  # bytes before the lengths of name and extra field (APPNOTE.TXT 4.3.7)
_DESCRIPTORS = (12, 16, 20, 24)  # bytes after an entry that was written as a stream (4.3.9)
_DIRECTORY_END = struct.Struct("<4sHHHHIIH")


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON file.

    Raises:
      ValueError: it is no JSON, or nested more than `DEEPEST` levels.
    """
    too_deep = ValueError(f"nested more than {DEEPEST} levels")
    try:
        content = json.loads(text)
    except RecursionError:
        raise too_deep from None
    level, depth = [content], 0
    while level := [x for x in level if isinstance(x, dict | list)]:
        depth += 1
        if depth > DEEPEST:
            raise too_deep
        level = [v for x in level for v in (x.values() if isinstance(x, dict) else x)]
    return content


class Content(dict[str, Any]):
    """The object of a JSON file, whose keys are all there, or the file is refused.

    Attributes:
      checked: whether the file holds digests of its values, which were compared.
    """

    checked = False

    def __init__(self, content: Mapping[str, Any], path: Any):
        super().__init__(content)
        self._path = path

    def __missing__(self, key: str) -> NoReturn:
        raise InputError(f"{self._path} is damaged: it has no {key!r}. Bring it back.")


def with_digests(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a JSON file with a digest of the value of each key."""
    values = json.loads(json.dumps(content))  # as it is read back
    return {**values, DIGESTS: {key: _digest(value) for key, value in values.items()}}


def checked(content: Mapping[str, Any], path: Any) -> Content:
    """The content of a JSON file without its digests, compared where it has any.

    A key may be absent, as in files of earlier versions; it must not be another one, nor have
    another value.

    Raises:
      ValueError: a value was changed.
    """
    values = Content({k: v for k, v in content.items() if k != DIGESTS}, path)
    if DIGESTS in content:
        digests = content[DIGESTS]
        if not isinstance(digests, dict):
            raise ValueError(f"{DIGESTS} is no object")
        for key, value in values.items():
            if digests.get(key) != _digest(value):
                raise ValueError(f"{key!r} is not what was written")
        values.checked = True
    return values


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def parse_npz(file: Any) -> dict[str, np.ndarray]:
    """All arrays of an open `.npz` file, by name.

    Unlike `numpy.load` it notices each changed byte that changes, hides or renames an array: the
    checksum of every array is compared, and the list of arrays with its own length.

    Raises:
      ValueError: the file is damaged, holds something that is no array, or pickled Python objects,
        which could run code.
    """
    name = ""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(file, archive, entries)
            arrays = {}
            for entry in entries:
                name = entry.filename
                if not name.endswith(".npy"):
                    raise ValueError(f"{name} is not an array")
                arrays[name.removesuffix(".npy")] = _read_array(archive, entry)
            return arrays
    except Exception as error:  # whatever damage makes parsers do, the file is at fault
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        array = name.removesuffix(".npy")
        if array and f"{array} " not in reason:
            reason = f"at array {array}: {reason}"
        raise ValueError(reason) from error


def _check_entries(file: Any, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """Raises ValueError where the list of entries was cut, or has a name twice."""
    twice = [name for name, n in Counter(entry.filename for entry in entries).items() if n > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} occurs twice")
    # The reader ends where lengths of comments lead behind the list: entries would be missing.
    file.seek(-_DIRECTORY_END.size - len(archive.comment), io.SEEK_END)
    mark, _, _, _, count, _, _, _ = _DIRECTORY_END.unpack(file.read(_DIRECTORY_END.size))
    if mark != b"PK\5\6" or count != min(len(entries), 0xFFFF):
        raise ValueError("the list of its arrays is damaged")
    if any(entry.comment for entry in entries):
        raise ValueError("the list of its arrays is damaged")
    # An entry that the list leaves out lies between others, or between the last and the list.
    end, previous = 0, None
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        _check_gap(entry.header_offset - end, previous, end)
        file.seek(entry.header_offset + _LOCAL_LENGTHS)
        name, extra = struct.unpack("<HH", file.read(4))
        end = entry.header_offset + _LOCAL_LENGTHS + 4 + name + extra + entry.compress_size
        previous = entry
    _check_gap(archive.start_dir - end, previous, end)  # pyrefly: ignore  # no stub knows it


def _check_gap(gap: int, previous: zipfile.ZipInfo | None, at: int) -> None:
    """Raises ValueError for bytes after an entry that are not the sizes which a stream writes."""
    is_streamed = previous is not None and bool(previous.flag_bits & 8)
    if gap and not (is_streamed and gap in _DESCRIPTORS):
        raise ValueError(f"the list of its arrays leaves out what begins at byte {at:,}")


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """The array of an entry, whose checksum is compared."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    name = entry.filename.removesuffix(".npy")
    with archive.open(entry) as stream:
        try:
            version = np.lib.format.read_magic(stream)
        except ValueError:
            raise ValueError(f"{name} is not an array") from None
        shape, column_major, dtype = read[version](stream)
        if dtype.hasobject:
            raise ValueError(
                f"the array {name} holds pickled Python objects, which are not read because they "
                "could run code. Store numbers: numpy arrays of one shape"
            )
        if math.prod(shape) * dtype.itemsize != entry.file_size - stream.tell():
            raise ValueError("its length is not that of its shape")
        array = np.empty(shape[::-1] if column_major else shape, dtype)
        content = memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")
        done = 0
        while done < len(content):
            part = stream.read(min(2**24, len(content) - done))
            if not part:
                raise ValueError("it is cut short")
            content[done : done + len(part)] = part
            done += len(part)
        if stream.read(1):  # at the end the checksum is compared
            raise ValueError("its length is not that of its shape")
    return array.T if column_major else array
