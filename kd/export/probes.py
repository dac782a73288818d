"""Inputs that make every number of an int8 network count, for the check of its C program.

Images leave numbers unseen: weights of borders that are always black, channels that no image turns
on. A probe is an image under noise of its own amplitude, which the C program computes from its
number, so that hundreds of them need no memory. That changes are seen is tried when probes are
chosen: a copy of the file with one number changed must give other outputs.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int8

from kd.export import graph, interpreter

CANDIDATES = 96
ALWAYS = 64
"""Probes that are always kept: more outputs see smaller changes."""

CHANGES = 40
"""Most changes that are tried."""

LAYERS = ("ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operations with numbers of their own."""

AMPLITUDES = (255, 96, 32, 128)


class Probes(NamedTuple):
    """Chosen probes.

    Attributes:
      numbers: of the probes, as `make` takes them.
      outputs: of LiteRT's reference kernels, int8 [n, c].
      tried: number of changes that were tried.
      unseen: those that no probe saw, in words: they change no output, as of a channel that is
        never on.
    """

    numbers: list[int]
    outputs: np.ndarray
    tried: int
    unseen: list[str]

    def report(self) -> dict[str, Any]:
        """Entry of `report.json`."""
        return {"vectors": len(self.numbers), "changes": self.tried, "unseen": self.unseen}


def make(number: int, images: Int8[np.ndarray, "n ..."]) -> Int8[np.ndarray, "..."]:
    """The input of a probe; `kd_check.c` has the same in C.

    Args:
      number: of the probe.
      images: inputs of the golden vectors.
    """
    base = images[number % len(images)].astype(np.int64)
    amplitude = AMPLITUDES[number % len(AMPLITUDES)]
    # state[i + 1] = a state[i] + c modulo 2**32, for all i at once
    factors = np.multiply.accumulate(np.full(base.size, 1664525, np.uint32), dtype=np.uint32)
    sums = np.cumsum(np.append(np.uint32(1), factors[:-1]), dtype=np.uint32)
    first = np.uint32((number * 2654435761 + 12345) % 2**32)
    noise = (factors * first + sums * np.uint32(1013904223)) >> np.uint32(24)
    value = base - amplitude + (noise.astype(np.int64).reshape(base.shape) * amplitude >> 7)
    return np.clip(value, -128, 127).astype(np.int8)


def choose(content: bytes, images: Int8[np.ndarray, "n ..."]) -> Probes:
    """Probes that see a change of each kind: weights, biases, scales (multipliers and shifts of
    kernels) and zero points of each layer.

    Args:
      content: the int8 file.
      images: inputs of the golden vectors.
    """
    inputs = np.stack([make(i, images) for i in range(CANDIDATES)])
    outputs = interpreter.run(content, inputs)
    chosen, unseen, tried = list(range(min(ALWAYS, CANDIDATES))), [], 0
    for what, changed in _changes(content):
        tried += 1
        seen = _first_that_sees(changed, inputs, outputs, chosen)
        if seen is None:
            rest = [i for i in range(CANDIDATES) if i not in chosen]
            seen = _first_that_sees(changed, inputs, outputs, rest)
            if seen is None:
                unseen.append(what)
            else:
                chosen.append(seen)
    return Probes(chosen, outputs[chosen], tried, unseen)


def _first_that_sees(
    changed: bytes, inputs: np.ndarray, outputs: np.ndarray, numbers: list[int]
) -> int | None:
    """The first of the probes whose output differs in the changed file."""
    for start in range(0, len(numbers), 4):
        part = numbers[start : start + 4]
        differ = (interpreter.run(changed, inputs[part]) != outputs[part]).any(axis=1)
        if differ.any():
            return part[int(differ.argmax())]
    return None


def _changes(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Copies of a file with one number changed, and what it was, spread over layers and kinds."""
    random = np.random.default_rng(0)
    places = _places(graph.read(content))
    if len(places) > CHANGES:
        places = [places[i] for i in sorted(random.choice(len(places), CHANGES, replace=False))]
    for what, change in places:
        model = graph.read(content)
        change(model, random)
        yield what, graph.write(model)


def _places(model: Any) -> list[tuple[str, Callable[[Any, np.random.Generator], None]]]:
    """What can be changed in each layer, in words, and how."""
    tensors, places = model.subgraphs[0].tensors, []
    for number, op in enumerate(model.subgraphs[0].operators):
        name = f"{number} {graph.name_of(model, op)}"
        if graph.name_of(model, op) not in LAYERS:
            continue
        for index in [i for i in op.inputs if i >= 0]:
            data = model.buffers[tensors[index].buffer].data
            if data is None or not len(data):  # it depends on the example
                continue
            if graph.TYPES[tensors[index].type] == "INT8":
                places += [(f"weight of layer {name}", _number(index, np.int8))] * 2
                places.append((f"scale of layer {name}", _scale(index, 1.05)))
                places.append((f"shift of layer {name}", _scale(index, 2.0)))
            elif graph.TYPES[tensors[index].type] == "INT32":
                places.append((f"bias of layer {name}", _number(index, np.int32)))
        places.append((f"zero point of layer {name}", _zero_point(op.outputs[0])))
    return places


def _number(index: int, dtype: Any) -> Callable[[Any, np.random.Generator], None]:
    """Changes one element of a constant by an eighth of the largest."""

    def change(model: Any, random: np.random.Generator) -> None:
        buffer = model.buffers[model.subgraphs[0].tensors[index].buffer]
        values = np.asarray(buffer.data, np.uint8).copy().view(dtype)
        place, largest = random.integers(len(values)), int(np.abs(values.astype(int)).max())
        step = max(1, largest // 8)
        values[place] += step if values[place] < 0 else -step
        buffer.data = values.view(np.uint8)

    return change


def _scale(index: int, factor: float) -> Callable[[Any, np.random.Generator], None]:
    def change(model: Any, random: np.random.Generator) -> None:
        quantization = model.subgraphs[0].tensors[index].quantization
        scales = np.array(quantization.scale, np.float32)
        scales[random.integers(len(scales))] *= factor
        quantization.scale = scales

    return change


def _zero_point(index: int) -> Callable[[Any, np.random.Generator], None]:
    def change(model: Any, random: np.random.Generator) -> None:
        quantization = model.subgraphs[0].tensors[index].quantization
        zero = np.array(quantization.zeroPoint, np.int64)
        quantization.zeroPoint = np.where(zero < 0, zero + 1, zero - 1)

    return change
