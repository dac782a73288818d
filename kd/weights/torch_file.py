"""Reads the weights in a `.pth` or `.pt` file without PyTorch and without running any of its code.

Both formats of `torch.save`: the zip archive (since PyTorch 1.6) and the older series of pickles
and raw numbers, described in https://docs.pytorch.org/docs/stable/notes/serialization.html and
torch/serialization.py.
"""

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kd.errors import InputError
from kd.weights import pickled
from kd.weights.pickled import Storage, Tensor

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Entries under which training scripts save the weights, in the order in which they are looked for.
_ENTRIES = ("model", "state_dict", "net")


def read(path: Path) -> dict[str, np.ndarray]:
    """The state dict of a file: bare, or under `model`, `state_dict` or `net`; the rest is skipped.

    Returns:
      Arrays under PyTorch's names, views of read-only memory in the file's types; bfloat16 is that
      of `ml_dtypes`.

    Raises:
      InputError: no such file, a damaged or hostile one, or one without a state dict.
    """
    try:
        data = path.read_bytes()
        checkpoint, storages = _read_zip(data) if data[:2] == b"PK" else _read_legacy(data)
        return {name: _array(tensor, storages) for name, tensor in _state_dict(checkpoint).items()}
    except InputError as error:
        raise InputError(f"cannot import {path}: {error}.") from error
    except Exception as error:  # whatever damage makes parsers do, the file is at fault
        kind = (
            "it is a tar archive; unpack it"
            if _is_tar(path)
            else "no PyTorch checkpoint, or damaged"
        )
        raise InputError(f"cannot import {path}: {kind} ({type(error).__name__}).") from error


def _state_dict(checkpoint: Any) -> dict[str, Tensor]:
    if not isinstance(checkpoint, dict):
        raise InputError("it contains no dictionary, so no state dict")
    state = next(
        (checkpoint[k] for k in _ENTRIES if isinstance(checkpoint.get(k), dict)), checkpoint
    )
    if not state:
        raise InputError("its state dict is empty")
    other = [k for k, v in state.items() if not _is_entry(k, v)]
    if other and state is checkpoint:
        raise InputError(
            f"it contains no state dict, neither bare nor under {', '.join(_ENTRIES)}; its "
            f"entries are {_few(checkpoint)}"
        )
    if other:
        raise InputError(f"entries of its state dict are not tensors: {_few(other)}")
    return state


def _is_entry(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _few(names: Any) -> str:
    names = [repr(name)[:60] for name in names]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _read_zip(data: bytes) -> tuple[Any, Mapping[str, bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise InputError("it is a zip archive, but not one of PyTorch")
    prefix = pickles[0].removesuffix("data.pkl")
    order = f"{prefix}byteorder"
    if order in archive.namelist() and _stored(archive, order) != b"little":
        raise InputError("it was written by a big-endian machine")
    return pickled.load(io.BytesIO(_stored(archive, pickles[0]))), _Entries(
        archive, f"{prefix}data/", len(data)
    )


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """Content of an entry. PyTorch never compresses; a compressed one may unpack to any size."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise InputError("its entries are compressed, which PyTorch's are not")
    return archive.read(name)


class _Entries(dict[str, bytes]):
    """Contents of storages, read on demand.

    Together they cannot be longer than the file, unless it is forged.
    """

    def __init__(self, archive: zipfile.ZipFile, prefix: str, limit: int) -> None:
        super().__init__()
        self._archive, self._prefix, self._left = archive, prefix, limit

    def __missing__(self, key: str) -> bytes:
        self._left -= self._archive.getinfo(self._prefix + key).file_size
        if self._left < 0:
            raise InputError("its entries overlap")
        self[key] = _stored(self._archive, self._prefix + key)
        return self[key]


def _read_legacy(data: bytes) -> tuple[Any, Mapping[str, bytes]]:
    """Five pickles (magic number, protocol, machine, object, storage keys) and then the storages.

    A storage is its number of elements, int64, and the elements; only the object's pickle has their
    type.
    """
    file = io.BytesIO(data)
    if pickled.load(file) != _LEGACY_MAGIC:
        raise InputError("it is a pickle, but not one of PyTorch")
    pickled.load(file)
    if not pickled.load(file)["little_endian"]:
        raise InputError("it was written by a big-endian machine")
    seen: dict[str, Storage] = {}
    checkpoint = pickled.load(file, seen)
    storages = {}
    for key in pickled.load(file):
        size = int.from_bytes(file.read(8), "little")
        length = size * np.dtype(seen[key].dtype).itemsize
        storages[key] = file.read(length)
        if len(storages[key]) != length:
            raise InputError("it is truncated")
    return checkpoint, storages


def _array(tensor: Tensor, storages: Mapping[str, bytes]) -> np.ndarray:
    storage, offset, shape, stride = tensor
    dtype = np.dtype(storage.dtype)
    raw = storages[storage.key]
    if len(raw) != storage.size * dtype.itemsize:
        raise InputError("a storage has another length than its tensors say")
    first = storage.start + offset
    empty = 0 in shape
    last = first + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if min(first, *shape, *stride, 0) < 0 or (not empty and last >= storage.size):
        raise InputError("a tensor reaches beyond its storage")
    if math.prod(shape) > max(storage.size, 2**20):  # strides of 0 cost nothing to write
        raise InputError("a tensor repeats its storage too often")
    if empty:
        return np.zeros(shape, dtype)
    numbers = np.frombuffer(raw, dtype)[first:]
    strides = tuple(s * dtype.itemsize for s in stride)
    return np.lib.stride_tricks.as_strided(numbers, shape, strides, writeable=False)


def _is_tar(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[257:262] == b"ustar"
