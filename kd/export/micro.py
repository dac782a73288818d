"""Runs a `.tflite` file here by TensorFlow Lite for Microcontrollers (TFLM)."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
from tflite_micro.python.tflite_micro.runtime import Interpreter

from kd.errors import RunError
from kd.export import graph, silence

ARENA = r"Arena allocation {} (\d+) bytes"


class Arena(NamedTuple):
    """Bytes of working memory: in total, for activations (the head, equal on every machine) and for
    structures (the tail, on 64 bits).
    """

    total: int
    head: int
    tail: int


def run(
    content: bytes, inputs: Shaped[np.ndarray, "n ..."], named: bytes = b""
) -> tuple[Shaped[np.ndarray, "n c"], Arena]:
    """Outputs of examples, and the working memory that was used.

    Args:
      content: the file.
      inputs: of the file, one for each example.
      named: the same file with the names of its layers, for messages.

    Raises:
      RunError: the interpreter lacks an operation; with its layer, if `named` says it.
    """
    outputs, printed = [], silence.Printed()
    try:
        with silence.capture() as printed:
            interpreter = Interpreter.from_bytes(content, arena_size=_arena_size(content, inputs))
            for example in inputs:
                interpreter.set_input(example[None], 0)
                interpreter.invoke()
                outputs.append(np.array(interpreter.get_output(0)[0]))
    except (RuntimeError, ValueError) as error:
        why = " ".join(printed.text.split()) or str(error)
        raise RunError(f"TFLM does not run this network: {why}{_place(why, named)}") from error
    with silence.capture() as printed:
        interpreter.print_allocations()
    sizes = {}
    for part in Arena._fields:
        match = re.search(ARENA.format(part), printed.text)
        if match is None:
            raise RunError(
                f"TFLM did not print the size of its arena's {part}: {printed.text[:200]!r}."
            )
        sizes[part] = int(match[1])
    return np.stack(outputs), Arena(**sizes)


def outputs_of(content: bytes, examples: Iterable[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The first output of a file of several inputs, for the values of all its inputs in order."""
    outputs = []
    with silence.capture():
        interpreter = Interpreter.from_bytes(content, arena_size=10 * len(content) + 2**20)
        for values in examples:
            for place, value in enumerate(values):
                interpreter.set_input(value, place)
            interpreter.invoke()
            outputs.append(np.array(interpreter.get_output(0)))
    return outputs


def _place(why: str, named: bytes) -> str:
    """The layer of the operation that a message of the interpreter names; "" if it names none."""
    missing = re.search(r"opcode '(\w+)'", why)
    if not (missing and named):
        return ""
    layers = [op.layer for op in graph.operations(named) if op.name == missing[1]]
    return f" ({missing[1]} in {layers[0]}). Take another layer there." if layers else ""


def _arena_size(content: bytes, inputs: np.ndarray) -> int:
    """Bytes that always suffice. The interpreter's default, ten times the file, is too small for
    small files of large maps.
    """
    return 10 * len(content) + 256 * inputs[0].nbytes + 2**20
