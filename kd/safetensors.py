"""The tensors in a `.safetensors` file: a length, a JSON header, and the raw numbers that it lays out.

Format: https://github.com/huggingface/safetensors#format
"""

import json
import math
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
    """Whether a file that begins so is of this format. A header is shorter than 2^32 bytes, and JSON."""
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


def _array(
    data: memoryview, dtype: str, shape: list[int], data_offsets: list[int]
) -> np.ndarray:
    start, end = data_offsets
    kind = np.dtype(_DTYPES[dtype])
    if not 0 <= start <= end <= len(data):
        raise ValueError("offsets")
    if end - start != math.prod(shape) * kind.itemsize:
        raise ValueError("shape")
    return np.frombuffer(data[start:end], kind).reshape(shape)
