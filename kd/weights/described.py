"""What a pickle describes, without its contents, and what describing it may cost."""

import re
from typing import Any, NamedTuple

from kd.errors import InputError
from kd.weights import names
from kd.weights.names import DType

STEPS = 3_000_000
"""Most opcodes of a file. The largest published checkpoints have some hundred thousand."""

MEMORY = 2**28
"""Most bytes of all texts and copies; the numbers of tensors are no part of pickles."""

_LONGEST_NAME, _LONGEST_INT, _MOST_AXES = 200, 1024, 64


class Budget:
    """What reading one file may cost."""

    def __init__(self, steps: int = STEPS, memory: int = MEMORY) -> None:
        self.steps, self.memory = steps, memory

    def spend(self, size: int) -> None:
        """Raises InputError if all sizes together are beyond the budget."""
        self.memory -= size
        if self.memory < 0:
            raise InputError("its pickle needs too much memory, more than any checkpoint")

    def step(self) -> None:
        """Raises InputError if there were too many steps."""
        self.steps -= 1
        if self.steps < 0:
            raise InputError("its pickle needs too many steps, more than any checkpoint")


class Storage(NamedTuple):
    """A run of `size` numbers of the file, by its `key`; indices count from number `start`."""

    dtype: DType
    key: str
    size: int
    start: int


class Tensor(NamedTuple):
    """A strided view of a storage; `offset` and `stride` count numbers.

    Its `dtype` is that of the storage, but for a storage of plain bytes. A `negative` one has the
    sign of each number changed.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: DType
    negative: bool = False


class Opaque(NamedTuple):
    """Something that is neither tensor nor container; only its name is kept."""

    name: str


def literal(value: Any) -> Any:
    # Each use of a number as a key reads all of it.
    if isinstance(value, int) and value.bit_length() > 8 * _LONGEST_INT:
        raise InputError(
            "it has a number of thousands of digits, which PyTorch's checkpoints do not"
        )
    return value


def named(module: Any, attribute: Any) -> Opaque:
    for part in (module, attribute):
        if not isinstance(part, str) or len(part) > _LONGEST_NAME:
            raise TypeError("name")
    name = f"{module}.{attribute}"
    if not names.is_known(name):
        raise InputError(
            f"it refers to {name[:80]!r}, and only tensors and containers are read. "
            "Save only the state dict, by torch.save(model.state_dict(), path)"
        )
    return Opaque(name)


def call(what: Opaque, arguments: Any, budget: Budget) -> Any:
    """What `what(*arguments)` would return, as a description."""
    if what.name in names.TENSORS:
        return _tensor(what.name, *arguments[:8])
    if what.name in names.TYPED_TENSORS:  # a function, a type, its arguments, and attributes
        if not isinstance(arguments[0], Opaque) or arguments[0].name in names.TYPED_TENSORS:
            raise TypeError("tensor")
        return call(arguments[0], arguments[2], budget)
    if what.name in names.PARAMETERS:
        return arguments[0]
    if what.name == "torch.Size":
        budget.spend(8 * len(arguments[0]))
        return tuple(arguments[0])
    if what.name == "collections.OrderedDict":
        pairs = arguments[0] if arguments else ()
        budget.spend(8 * len(pairs))
        return set_items({}, [item for key, value in pairs for item in (key, value)], budget)
    if what.name == "collections.defaultdict":
        return {}
    return what


def _tensor(
    name: str,
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    _gradient: Any = None,
    _hooks: Any = None,
    *further: Any,
) -> Tensor:
    """From the arguments of `torch._utils._rebuild_tensor`, `_v2` and `_v3`.

    What is left is the type, in the third version, and then the bits of a tensor that is a view of
    others: conjugated, or of the opposite sign.
    """
    if max(len(shape), len(stride)) > _MOST_AXES:
        raise ValueError("axes")
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, Storage) or any(type(n) is not int for n in numbers):
        raise TypeError("tensor")
    if max(map(abs, numbers)) >= 2**63:
        raise ValueError("size")
    dtype, rest = storage.dtype, list(further)
    if name.endswith("_v3"):
        dtype = names.DTYPES[rest.pop(0).name]
    bits = (rest[0] if rest else None) or {}
    if not isinstance(bits, dict) or not bits.keys() <= {"conj", "neg"}:
        raise InputError("it holds a tensor with bits that are not known")
    if bits.get("conj") and not dtype.name.startswith("complex"):
        raise InputError("it holds a tensor of real numbers that is marked as conjugated")
    return Tensor(storage, offset, tuple(shape), tuple(stride), dtype, bool(bits.get("neg")))


def storage(pid: Any) -> Storage:
    """From PyTorch's persistent id: ("storage", type, key, device, size).

    Old files have a sixth entry, a view: (key, start, size).
    """
    if not isinstance(pid, tuple) or len(pid) not in (5, 6):
        raise TypeError("storage")
    kind, what, key, _, size, *view = pid
    if kind != "storage" or what.name not in names.STORAGES or type(size) is not int:
        raise TypeError("storage")
    if not isinstance(key, str) or len(key) > _LONGEST_NAME:
        raise TypeError("key of a storage")
    start = view[0][1] if view and view[0] is not None else 0
    if type(start) is not int or max(abs(size), abs(start)) >= 2**63:
        raise TypeError("view of a storage")
    return Storage(names.STORAGES[what.name], key, size, start)


def in_text(pid: str) -> tuple:
    """The persistent id of a file of protocol 0, which has it as `str` writes the tuple."""
    pattern = r"\('storage', <class '([\w.]+)'>, '([^']*)', '([^']*)', (\d{1,19})(, None)?\)"
    match = re.fullmatch(pattern, pid)
    if match is None:
        raise TypeError("storage")
    what, key, device, size, _ = match.groups()
    return "storage", Opaque(what), key, device, int(size)


def set_items(target: Any, items: list, budget: Budget) -> Any:
    """Sets keys and values; a key that is not plain becomes an Opaque.

    The hash of a tuple a million levels deep would end the process.
    """
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str | bytes):
                budget.spend(len(key))  # two equal keys are compared byte by byte
            plain = isinstance(key, str | int | float | bytes | None)
            target[key if plain else Opaque("key")] = value
    return target
