"""Reads and writes `.safetensors` files, through the package `safetensors`.

Format: https://github.com/huggingface/safetensors#format
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (NumPy then knows bfloat16 by name, as the package asks for it)
import numpy as np
import safetensors
import safetensors.numpy

from kd.errors import InputError

READABLE = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")
READABLE += ("BOOL",)
"""Types of numbers that `read` accepts, by their names in the format."""

LONGEST_HEADER = 2**23
"""Most bytes of a header: room for the names of a hundred thousand tensors."""


def matches(start: bytes) -> bool:
    """Whether a file that starts with these bytes has this format: a JSON header after 8 bytes."""
    return start[8:9] == b"{"


def read(path: Path) -> dict[str, np.ndarray]:
    """All tensors by name, read-only, in the order of the file; bfloat16 is that of `ml_dtypes`.

    Raises:
      InputError: the file is damaged; it breaks a rule of the format (a name occurs twice, tensors
        overlap, bytes belong to no tensor); its header is over 8 MB; or it holds a type of numbers
        that is not in `READABLE`.
    """
    try:
        with path.open("rb") as start:
            if int.from_bytes(start.read(8), "little") > LONGEST_HEADER:
                raise ValueError(f"a header of more than {LONGEST_HEADER} bytes")
        with safetensors.safe_open(path, framework="numpy") as file:
            _check_names(path)
            names = file.offset_keys()
            types = {name: file.get_slice(name).get_dtype() for name in names}
            unreadable = {name: kind for name, kind in types.items() if kind not in READABLE}
            tensors = {} if unreadable else {name: file.get_tensor(name) for name in names}
    except Exception as error:  # whatever damage makes parsers do, the file is at fault
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"cannot import {path}: the safetensors file is damaged ({reason})."
        ) from error
    for name, kind in unreadable.items():
        raise InputError(
            f"cannot import {path}: the type {kind} of {name!r} is not supported. Convert the "
            f"tensor to F32 first; supported are {', '.join(READABLE)}."
        )
    for array in tensors.values():
        array.flags.writeable = False
    return tensors


def encode(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The content of a file with these tensors and metadata. Equal arguments give equal bytes.

    The package orders metadata differently from one process to the next. The header is therefore
    written again, its metadata in the order of the argument.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    content = safetensors.numpy.save(arrays)
    end = 8 + int.from_bytes(content[:8], "little")
    header = {"__metadata__": dict(metadata), **json.loads(content[8:end])}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def _check_names(path: Path) -> None:
    """Raises ValueError where the header has a key twice. The package accepts that where both
    entries name the same bytes.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} occurs twice")
        return dict(pairs)

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        json.loads(file.read(length), object_pairs_hook=unique)
