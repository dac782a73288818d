"""Names that checkpoints of PyTorch refer to: tensors, types of numbers, and what is skipped."""

from typing import NamedTuple

import ml_dtypes
import numpy as np


class DType(NamedTuple):
    """A type of numbers of PyTorch.

    Attributes:
      name: PyTorch's, without `torch.`.
      numpy: the same type here; None where it is not supported.
      size: bytes of a number.
    """

    name: str
    numpy: np.dtype | None
    size: int


def _supported(name: str, scalar: type) -> DType:
    dtype = np.dtype(scalar)
    return DType(name, dtype, dtype.itemsize)


_SUPPORTED = {
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
}
_UNSUPPORTED = {"complex32": 4, "complex64": 8, "complex128": 16}
_UNSUPPORTED |= {"qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1}
_UNSUPPORTED |= {f"float8_{k}": 1 for k in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")}
_UNSUPPORTED |= {"float4_e2m1fn_x2": 1, "bits8": 1, "bits16": 2, "bits1x8": 1, "bits2x4": 1}
_UNSUPPORTED |= {"bits4x2": 1, **{f"{s}int{n}": 1 for s in ("", "u") for n in range(1, 8)}}
_TYPES = {name: _supported(name, scalar) for name, scalar in _SUPPORTED.items()}
_TYPES |= {name: DType(name, None, size) for name, size in _UNSUPPORTED.items()}

DTYPES = {f"torch.{name}": dtype for name, dtype in _TYPES.items()}
"""Types of numbers by the names under which pickles refer to them."""

_OF_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
}
STORAGES = {
    f"{module}.{storage}": _TYPES[name]
    for module in ("torch", "torch.cuda", "torch.storage")
    for storage, name in _OF_STORAGES.items()
}
"""Types of the numbers of storages, by the storages' names."""

TENSORS = {f"torch._utils._rebuild_tensor{v}" for v in ("", "_v2", "_v3")}
PARAMETERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
TYPED_TENSORS = {"torch._tensor._rebuild_from_type", "torch._tensor._rebuild_from_type_v2"}
"""Functions that rebuild tensors with attributes: their first argument rebuilds the tensor."""

# What optimizers, schedules and logs save next to the weights, by module. All of it is skipped.
_BUILTINS = {"set", "frozenset", "dict", "list", "tuple", "slice", "object"}
_BUILTINS |= {"bool", "int", "float", "complex", "str", "bytes", "bytearray"}
_SKIPPED = {
    "argparse": {"Namespace"},
    "builtins": _BUILTINS,
    "__builtin__": _BUILTINS,
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "_codecs": {"encode"},
    "copyreg": {"_reconstructor"},
    "copy_reg": {"_reconstructor"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"scalar", "_reconstruct"},
    "numpy._core.multiarray": {"scalar", "_reconstruct"},
    "pathlib": {
        *("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
    },
    "torch": {"Size", "Tensor", "device", "strided", "contiguous_format", "Generator"},
    "torch.nn.parameter": {"Buffer", "Parameter", "UninitializedParameter"},
    "torch.serialization": {"_get_layout"},
    "torch.torch_version": {"TorchVersion"},
    "torch.version": {"TorchVersion"},
    "types": {"SimpleNamespace"},
    "typing": {"Any"},
    "uuid": {"UUID", "SafeUUID"},
    "zoneinfo": {"ZoneInfo", "ZoneInfo._unpickle"},
}
_SKIPPED["pathlib._local"] = _SKIPPED["pathlib"]
# Optimizers and schedules themselves, whatever their class, and configs of common packages.
_PREFIXES = (
    "torch.optim.",
    "torch._utils._rebuild_",  # kinds of tensors that are not supported
    "numpy.random.",
    "numpy.dtypes.",
    "omegaconf.",
    "yacs.config.",
    "easydict.",
    "addict.",
    "ml_collections.",
)
_KNOWN = DTYPES.keys() | STORAGES.keys() | TENSORS | PARAMETERS | TYPED_TENSORS
_KNOWN |= {f"{module}.{name}" for module, names in _SKIPPED.items() for name in names}


def is_known(name: str) -> bool:
    """Whether a pickle may refer to it."""
    return name in _KNOWN or name.startswith(_PREFIXES)
