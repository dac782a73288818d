"""Reads pickles as data: an interpreter of the opcodes that containers need, which calls nothing.

Python's own unpickler calls whatever a file names, with arguments that the file chooses. This one
knows a fixed set of names. Those of PyTorch's tensors become `Tensor` and `Storage`, descriptions
without contents; others of the set become an `Opaque`, on which every operation is ignored; any
other name ends the reading.
"""

import io
import pickletools
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from kd.errors import InputError


class Storage(NamedTuple):
    """A run of `size` numbers of the file, by its `key`; indices count from number `start`."""

    dtype: Any
    key: str
    size: int
    start: int


class Tensor(NamedTuple):
    """A strided view of a storage; `offset` and `stride` count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Opaque(NamedTuple):
    """Something that is neither tensor nor container; only its name is kept."""

    name: str


_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
    "UntypedStorage": np.uint8,
}
_STORAGES = {f"{m}.{s}" for m in ("torch", "torch.cuda", "torch.storage") for s in _DTYPES}
_TENSORS = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
_PARAMETERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
# What optimizers, schedules and logs save next to the weights, by module.
_BUILTINS = {"set", "frozenset", "dict", "list", "tuple", "slice", "object"}
_BUILTINS |= {"bool", "int", "float", "complex", "str", "bytes", "bytearray"}
_TYPES = {"bool", "uint8", "int8", "int16", "int32", "int64"}
_TYPES |= {"float16", "bfloat16", "float32", "float64"}
_OTHERS = {
    "argparse": {"Namespace"},
    "builtins": _BUILTINS,
    "__builtin__": _BUILTINS,
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "_codecs": {"encode"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"scalar", "_reconstruct"},
    "numpy._core.multiarray": {"scalar", "_reconstruct"},
    "torch": {"Size", "Tensor", "device", *_TYPES},
    "torch._utils": {"_rebuild_tensor_v3"},
    "torch.nn.parameter": {"Buffer", "Parameter"},
    "torch.serialization": {"_get_layout"},
}
# Optimizers and schedules themselves are known, too, whatever their class: all of torch.optim.
_KNOWN = _STORAGES | _TENSORS | _PARAMETERS
_KNOWN |= {f"{module}.{name}" for module, names in _OTHERS.items() for name in names}

_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("STRING", "SHORT_BINSTRING", "BINSTRING"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_MARK = Opaque("mark")


def load(file: io.BytesIO, storages: dict[str, Storage] | None = None) -> Any:
    """The object of the pickle at the file's position, which is moved behind it. Sets become lists.

    `storages` collects all storages by key.

    Raises:
      InputError: the pickle names something that is neither a tensor nor a container.
      Exception: of any kind, where it is damaged.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    push, pop = stack.append, stack.pop
    for opcode, operand, _ in pickletools.genops(file):
        argument: Any = operand
        match opcode.name:
            case name if name in _LITERALS:
                push(argument)
            case name if name in _CONSTANTS:
                push(_CONSTANTS[name])
            case "EMPTY_DICT":
                push({})
            case "EMPTY_LIST" | "EMPTY_SET":
                push([])
            case "MARK":
                push(_MARK)
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                push(tuple(pop() for _ in range(int(name[-1])))[::-1])
            case "TUPLE" | "FROZENSET":
                push(tuple(_marked(stack)))
            case "LIST":
                push(_marked(stack))
            case "DICT":
                push(_set({}, _marked(stack)))
            case "SETITEM":
                value, key = pop(), pop()
                _set(stack[-1], [key, value])
            case "SETITEMS":
                _set(*_target(stack))
            case "APPEND":
                item = pop()
                _append(stack[-1], [item])
            case "APPENDS" | "ADDITEMS":
                _append(*_target(stack))
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memo[int(argument)] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                push(memo[int(argument)])
            case "GLOBAL":
                push(_named(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                attribute, module = pop(), pop()
                push(_named(f"{module}.{attribute}"))
            case "REDUCE" | "NEWOBJ":
                arguments, what = pop(), pop()
                push(_call(what, arguments))
            case "BUILD":
                pop()  # attributes, which no container needs
            case "BINPERSID":
                push(storage := _storage(pop()))
                if storages is not None:
                    storages[storage.key] = storage
            case "POP":
                pop()
            case "POP_MARK":
                _marked(stack)
            case "DUP":
                push(stack[-1])
            case "STOP":
                return pop()
            case "PROTO" | "FRAME":
                pass
            case name:
                raise InputError(
                    f"it uses the pickle opcode {name}, which PyTorch's checkpoints do not"
                )
    raise EOFError("no STOP")


def _named(name: str) -> Opaque:
    if name not in _KNOWN and not name.startswith("torch.optim."):
        raise InputError(
            f"it refers to {name[:80]!r}, and only tensors and containers are read. "
            "Save only the state dict, by torch.save(model.state_dict(), path)"
        )
    return Opaque(name)


def _call(what: Opaque, arguments: tuple) -> Any:
    """What `what(*arguments)` would return, as a description."""
    if what.name in _TENSORS:
        storage, offset, shape, stride = arguments[:4]
        numbers = (offset, *shape, *stride)
        if not isinstance(storage, Storage) or any(type(n) is not int for n in numbers):
            raise TypeError("tensor")
        return Tensor(storage, offset, tuple(shape), tuple(stride))
    if what.name in _PARAMETERS:
        return arguments[0]
    if what.name == "torch.Size":
        return tuple(arguments[0])
    if what.name == "collections.OrderedDict":
        pairs = arguments[0] if arguments else ()
        return _set({}, [item for pair in pairs for item in pair])
    if what.name == "collections.defaultdict":
        return {}
    return what


def _storage(pid: tuple) -> Storage:
    """From PyTorch's persistent id: ("storage", type, key, device, size).

    Old files have a sixth entry, a view: (key, start, size).
    """
    kind, what, key, _, size, *view = pid
    if kind != "storage" or what.name not in _STORAGES or type(size) is not int:
        raise TypeError("storage")
    start = view[0][1] if view and view[0] is not None else 0
    return Storage(_DTYPES[what.name.rpartition(".")[2]], str(key), size, int(start))


def _marked(stack: list) -> list:
    """Pops what is above the topmost mark, and the mark."""
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _target(stack: list) -> tuple[Any, list]:
    items = _marked(stack)
    return stack[-1], items


def _append(target: list | Opaque, items: list) -> None:
    if not isinstance(target, Opaque):
        target.extend(items)


def _set(target: dict | Opaque, items: list) -> dict | Opaque:
    """Sets keys and values; a key that is not plain becomes an Opaque.

    The hash of a tuple a million levels deep would end the process.
    """
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            plain = isinstance(key, str | int | float | bytes | None)
            target[key if plain else Opaque("key")] = value
    return target
