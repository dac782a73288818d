"""The tensors in a `.safetensors` file: a length, a JSON header, and the raw numbers that it lays
out; read and written.

Format: https://github.com/huggingface/safetensors#format
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from kd.errors import InputError

_DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def starts(start: bytes) -> bool:
    """Whether a file that begins so is of this format. A header is shorter than 2^32 bytes, and
    JSON.
    """
    return start[4:9] == b"\0\0\0\0{"


def read(path: Path) -> dict[str, np.ndarray]:
    """All tensors by name, read-only. Raises InputError for a damaged file."""
    data = path.read_bytes()
    try:
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        numbers = memoryview(data)[end:]
        header.pop("__metadata__", None)
        return {name: _array(numbers, **entry) for name, entry in header.items()}
    except Exception as error:  # whatever damage makes parsers do, the file is at fault
        raise InputError(
            f"cannot import {path}: the safetensors file is damaged ({type(error).__name__})."
        ) from error


def written(tensors: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> bytes:
    """The file of these tensors, in order of their names, with `facts` as its metadata."""
    codes = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(facts)}
    numbers = []
    end = 0
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": codes[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        numbers.append(array.tobytes())
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + b"".join(numbers)


def _array(data: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    start, end = data_offsets
    kind = np.dtype(_DTYPES[dtype])
    if not 0 <= start <= end <= len(data):
        raise ValueError("offsets")
    if end - start != math.prod(shape) * kind.itemsize:
        raise ValueError("shape")
    return np.frombuffer(data[start:end], kind).reshape(shape)
