"""Reads the weights in a `.pth` or `.pt` file without PyTorch and without running any of its code.

Both formats of `torch.save`: the zip archive (since PyTorch 1.6) and the older series of pickles
and raw numbers, described in https://docs.pytorch.org/docs/stable/notes/serialization.html and
torch/serialization.py.
"""

import io
import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kd.errors import InputError
from kd.weights import pickled, state_dicts
from kd.weights.described import Budget, Storage, Tensor

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class Checkpoint:
    """The state dicts of a file, whose numbers are read on demand.

    Attributes:
      path: of the file.
      entries: descriptions of tensors under PyTorch's names, by the entry of the file that holds
        them: "model", or "model.state_dict" where one is in the other; "" for a bare state dict.
    """

    def __init__(self, path: Path) -> None:
        """Opens a file.

        Raises:
          InputError: no such file, a damaged or hostile one, or one without a state dict.
        """
        self.path = path
        self.entries: dict[str, dict[str, Tensor]] = {}
        self._storages: Mapping[str, Any] = {}
        with _refusals(path), path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
            file.seek(0)
            content, self._storages = _read_zip(file) if is_zip else _read_legacy(file)
            self.entries = state_dicts.find(content)

    def arrays(self, entry: str) -> dict[str, np.ndarray]:
        """The state dict of an entry: arrays under PyTorch's names, views of read-only memory in
        the file's types; bfloat16 is that of `ml_dtypes`.

        Raises:
          InputError: it is damaged, or has types of numbers that are not supported.
        """
        with _refusals(self.path):
            tensors = self.entries[entry]
            for name, tensor in tensors.items():
                if tensor.dtype.numpy is None:
                    raise InputError(
                        f"the type {tensor.dtype.name} of {name[:80]!r} is not supported. Convert "
                        "it first, by tensor.to(torch.float32)"
                    )
            return {name: _array(tensor, self._storages) for name, tensor in tensors.items()}


def read(path: Path, entry: str | None = None) -> dict[str, np.ndarray]:
    """The state dict of a file: bare, or under an entry such as `model`; the rest is skipped.

    Args:
      path: of the file.
      entry: which of the file's entries; None takes the only one.

    Raises:
      InputError: as for `Checkpoint` and its `arrays`; or no such entry, or several.
    """
    checkpoint = Checkpoint(path)
    with _refusals(path):
        chosen = state_dicts.choose(checkpoint.entries, entry)
    return checkpoint.arrays(chosen)


class _refusals:
    """Context that turns whatever a damaged file makes parsers do into an InputError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, InputError):
            raise InputError(f"cannot import {self._path}: {error}.") from error
        if isinstance(error, Exception):  # whatever it is, the file is at fault
            kind = "no PyTorch checkpoint, or damaged"
            if _is_tar(self._path):
                kind = "it is a tar archive; unpack it"
            name = type(error).__name__
            raise InputError(f"cannot import {self._path}: {kind} ({name}).") from error


def _map(file: Any) -> memoryview:
    """The content of an open file, of which only what is used is read."""
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _read_zip(file: BinaryIO) -> tuple[Any, Mapping[str, memoryview]]:
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise InputError("two of its entries have one name")
    pickles = [n for n in names if n.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise InputError("it is a zip archive, but not one of PyTorch")
    prefix = pickles[0].removesuffix("data.pkl")
    storages = _Entries(archive, f"{prefix}data/", len(_map(file)))
    order = f"{prefix}byteorder"
    if order in names and storages.content(order) != b"little":
        raise InputError("it was written by a big-endian machine")
    content, budget = storages.content(pickles[0]), Budget()
    budget.spend(len(content) // 2)  # of texts and numbers of up to eight bytes
    return pickled.load(io.BytesIO(content), budget), storages


class _Entries(dict[str, memoryview]):
    """Contents of storages, read on demand.

    Together they cannot be longer than the file, unless it is forged.
    """

    def __init__(self, archive: zipfile.ZipFile, prefix: str, limit: int) -> None:
        super().__init__()
        self._archive, self._prefix, self._left = archive, prefix, limit
        self._data = _map(archive.fp)

    def __missing__(self, key: str) -> memoryview:
        self[key] = self.content(self._prefix + key)
        return self[key]

    def content(self, name: str) -> memoryview:
        """Content of an entry, whose checksum is compared.

        PyTorch never compresses; a compressed one may unpack to any size.
        """
        entry = self._archive.getinfo(name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise InputError("its entries are compressed, which PyTorch's are not")
        self._left -= entry.file_size
        if self._left < 0:
            raise InputError("its entries overlap")
        start = entry.header_offset + _LOCAL_HEADER.size
        mark, *lengths = _LOCAL_HEADER.unpack(self._data[entry.header_offset : start])
        first = start + sum(lengths)
        content = self._data[first : first + entry.file_size]
        stored = bytes(self._data[start : start + lengths[0]])
        if mark != b"PK\3\4" or stored != entry.orig_filename.encode():
            raise zipfile.BadZipFile("header")
        if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
            raise zipfile.BadZipFile("checksum")
        return content


def _read_legacy(file: BinaryIO) -> tuple[Any, Mapping[str, memoryview]]:
    """Five pickles (magic number, protocol, machine, object, storage keys) and then the storages.

    A storage is its number of elements, int64, and the elements; only the object's pickle has their
    type.
    """
    budget = Budget()
    if pickled.load(file, budget) != _LEGACY_MAGIC:
        raise InputError("it is a pickle, but not one of PyTorch")
    pickled.load(file, budget)
    if not pickled.load(file, budget)["little_endian"]:
        raise InputError("it was written by a big-endian machine")
    seen: dict[str, Storage] = {}
    checkpoint = pickled.load(file, budget, seen)
    storages: dict[str, memoryview] = {}
    keys, data = pickled.load(file, budget), _map(file)
    start = file.tell()
    for key in keys:
        length = int.from_bytes(data[start : start + 8], "little") * seen[key].dtype.size
        start += 8
        storages[key] = data[start : start + length]
        start += length
        if len(storages[key]) != length:
            raise InputError("it is truncated")
    return checkpoint, storages


def _array(tensor: Tensor, storages: Mapping[str, memoryview]) -> np.ndarray:
    storage, offset, shape, stride, dtype, negative = tensor
    assert dtype.numpy is not None
    raw = storages[storage.key]
    if len(raw) != storage.size * storage.dtype.size:
        raise InputError("a storage has another length than its tensors say")
    numbers = np.frombuffer(raw[storage.start * storage.dtype.size :], np.uint8)
    numbers = numbers[: len(numbers) // dtype.size * dtype.size].view(dtype.numpy)
    empty = 0 in shape
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if min(offset, storage.start, *shape, *stride, 0) < 0 or (not empty and last >= len(numbers)):
        raise InputError("a tensor reaches beyond its storage")
    if math.prod(shape) > max(len(numbers), 2**20):  # strides of 0 cost nothing to write
        raise InputError("a tensor repeats its storage too often")
    if empty:
        return np.zeros(shape, dtype.numpy)
    strides = tuple(s * dtype.size for s in stride)
    view = np.lib.stride_tricks.as_strided(numbers[offset:], shape, strides, writeable=False)
    if negative:
        view = -view
        view.flags.writeable = False
    return view


def _is_tar(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(262)[257:] == b"ustar"
