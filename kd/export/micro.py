"""Running a `.tflite` file as a microcontroller does: the interpreter of TensorFlow Lite for
Microcontrollers, on this machine.
"""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
from tflite_micro.python.tflite_micro.runtime import Interpreter

from kd.errors import RunError
from kd.export import silence

ARENA = r"Arena allocation {} (\d+) bytes"


class Arena(NamedTuple):
    """Bytes of working memory: the whole, activations (the head, the same everywhere) and
    structures (the tail, for 64 bits).
    """

    total: int
    head: int
    tail: int


def run(
    content: bytes, inputs: Shaped[np.ndarray, "n ..."]
) -> tuple[Shaped[np.ndarray, "n c"], Arena]:
    """Outputs of examples, and the working memory that they took.

    Raises:
      RunError: an operation that the interpreter lacks.
    """
    outputs, heard = [], silence.Heard()
    try:
        with silence.hear() as heard:
            interpreter = Interpreter.from_bytes(content, arena_size=_room(content, inputs))
            for example in inputs:
                interpreter.set_input(example[None], 0)
                interpreter.invoke()
                outputs.append(np.array(interpreter.get_output(0)[0]))
    except (RuntimeError, ValueError) as error:
        why = " ".join(heard.text.split()) or str(error)
        raise RunError(f"TFLM does not run this network: {why}") from error
    with silence.hear() as heard:
        interpreter.print_allocations()
    found = {}
    for part in Arena._fields:
        match = re.search(ARENA.format(part), heard.text)
        if match is None:
            raise RunError(f"TFLM did not tell its arena's {part}, but: {heard.text[:200]!r}.")
        found[part] = int(match[1])
    return np.stack(outputs), Arena(**found)


def _room(content: bytes, inputs: np.ndarray) -> int:
    """Bytes that surely suffice: the interpreter's own guess, ten times the file, does not for
    small files of large maps.
    """
    return 10 * len(content) + 256 * inputs[0].nbytes + 2**20
