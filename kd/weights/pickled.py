"""Reads pickles as data: an interpreter of the opcodes that containers need, which calls nothing.

Python's own unpickler calls whatever a file names, with arguments that the file chooses. This one
knows a fixed set of names, see `kd.weights.names`. Those of PyTorch's tensors become
`Tensor` and `Storage`, descriptions without contents; others of the set become an `Opaque`, on
which every operation is ignored; any other name ends the reading. One `Budget` of steps and of
memory holds for all pickles of a file.
"""

import pickletools
from typing import Any

from kd.errors import InputError
from kd.weights import described
from kd.weights.described import Budget, Opaque, Storage

_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("STRING", "SHORT_BINSTRING", "BINSTRING"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_MARK = Opaque("mark")


class _Operands:
    """The file as `pickletools` reads it: no operand is longer than the budget."""

    def __init__(self, file: Any, budget: Budget) -> None:
        self._file, self._budget = file, budget
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if size > 8:
            self._budget.spend(size)
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline(self._budget.memory + 1)
        self._budget.spend(len(line))
        return line


def load(file: Any, budget: Budget, storages: dict[str, Storage] | None = None) -> Any:
    """The object of the pickle at the file's position, which is moved behind it. Sets become lists.

    Args:
      file: open and binary, with `read`, `readline` and `tell`.
      budget: of the file, which is reduced.
      storages: collects all storages by key.

    Raises:
      InputError: the pickle names something that is neither a tensor nor a container, or exceeds
        the budget.
      Exception: of any kind, where it is damaged.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    push, pop = stack.append, stack.pop
    operands: Any = _Operands(file, budget)
    for opcode, operand, _ in pickletools.genops(operands):
        budget.step()
        argument: Any = operand
        match opcode.name:
            case name if name in _LITERALS:
                push(described.literal(argument))
            case name if name in _CONSTANTS:
                push(_CONSTANTS[name])
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memo[int(argument)] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                push(memo[int(argument)])
            case "MARK":
                push(_MARK)
            case "GLOBAL":
                push(described.named(*argument.split(" ")))
            case "STACK_GLOBAL":
                attribute, module = pop(), pop()
                push(described.named(module, attribute))
            case "REDUCE" | "NEWOBJ":
                arguments, what = pop(), pop()
                push(described.call(what, arguments, budget))
            case "NEWOBJ_EX":
                _, arguments, what = pop(), pop(), pop()
                push(described.call(what, arguments, budget))
            case "BUILD":
                pop()  # attributes, which neither containers nor tensors need
            case "BINPERSID" | "PERSID" as name:
                push(
                    storage := described.storage(
                        pop() if name == "BINPERSID" else described.in_text(argument)
                    )
                )
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
                _container(name, stack, budget)
    raise EOFError("no STOP")


def _container(opcode: str, stack: list[Any], budget: Budget) -> None:
    """Executes an opcode that makes or fills a container. Raises InputError for any other one."""
    push, pop = stack.append, stack.pop
    match opcode:
        case "EMPTY_DICT":
            push({})
        case "EMPTY_LIST" | "EMPTY_SET":
            push([])
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            push(tuple(pop() for _ in range(int(opcode[-1])))[::-1])
        case "TUPLE" | "FROZENSET":
            push(tuple(_marked(stack)))
        case "LIST":
            push(_marked(stack))
        case "DICT":
            push(described.set_items({}, _marked(stack), budget))
        case "SETITEM":
            value, key = pop(), pop()
            described.set_items(stack[-1], [key, value], budget)
        case "SETITEMS":
            described.set_items(*_target(stack), budget)
        case "APPEND":
            item = pop()
            _append(stack[-1], [item])
        case "APPENDS" | "ADDITEMS":
            _append(*_target(stack))
        case _:
            raise InputError(
                f"it uses the pickle opcode {opcode}, which PyTorch's checkpoints do not"
            )


def _marked(stack: list) -> list:
    """Pops what is above the topmost mark, and the mark."""
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _target(stack: list) -> tuple[Any, list]:
    items = _marked(stack)
    return stack[-1], items


def _append(target: Any, items: list) -> None:
    if isinstance(target, list):
        target.extend(items)
