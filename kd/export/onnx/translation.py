"""A LiteRT file as an ONNX model: raw examples in, float32 logits out, a batch of any size.

What int8 means was decided when the LiteRT file was made. Its integers and scales are kept, as
pairs of QuantizeLinear and DequantizeLinear around each operation (QDQ), which runtimes fuse.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kd.export import graph
from kd.export.onnx import functions, layers, moves
from kd.export.onnx.model import INPUT, Builder, Grid, Value
from kd.export.onnx.operation import Operation, grid_of

RULES = layers.RULES | functions.RULES | moves.RULES


class Entry(NamedTuple):
    """The input of a model.

    Attributes:
      pixels: whether raw examples are uint8.
      floats: whether the model takes them as float32 nevertheless, as tools of verification ask:
        levels 0 to 255 of pixels.
    """

    pixels: bool
    floats: bool = False

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""
        return np.dtype(np.uint8 if self.pixels and not self.floats else np.float32)


class Translation(NamedTuple):
    """An ONNX model, and which of its activations is which tensor of the LiteRT file.

    Attributes:
      content: the model.
      values: activations by the index of the tensor.
    """

    content: bytes
    values: dict[int, Value]


def translate(
    content: bytes, named: bytes, entry: Entry, name: str, metadata: Mapping[str, str]
) -> Translation:
    """The ONNX model of a LiteRT file.

    Args:
      content: the file.
      named: the same file with the names of its layers.
      entry: what goes in.
      name: of the model.
      metadata: of the model, by key.

    Raises:
      InputError: an operation has no ONNX form; it is named with its layer.
    """
    model = graph.read(content)
    network = model.subgraphs[0]
    start, end = network.inputs[0], network.outputs[0]
    builder = Builder()
    values = {start: _input(builder, entry, grid_of(network.tensors[start]))}
    operations = zip(network.operators, graph.operations(named), strict=True)
    for op, described in operations:
        step = Operation(
            model, op, described.layer.replace("the network", "network"), builder, values
        )
        value, (index, *_) = _result(step), step.outputs
        if network.tensors[index].shape[:1] != [1]:
            raise step.refuse("of several rows an example has no ONNX form here")
        grid = grid_of(network.tensors[index])
        values[index] = value if grid is None else builder.rounded(value, grid, step.layer)
    image, logits = (network.tensors[i].shape[1:] for i in (start, end))
    written = builder.finish(name, (image, entry.dtype), values[end], logits, metadata)
    return Translation(written, values)


def _result(op: Operation) -> Value:
    """What an operation writes, in ONNX."""
    rule = RULES.get(op.name)
    if rule is None or len(op.outputs) != 1:
        raise op.refuse("has no ONNX form here")
    return functions.fused(op, rule(op))


def _input(builder: Builder, entry: Entry, grid: Grid | None) -> Value:
    """The raw examples as the input of the LiteRT file, which takes `pixel - 128`."""
    if not entry.pixels:
        value = Value(INPUT)
        return value if grid is None else builder.rounded(value, grid, INPUT)
    if grid is not None and not entry.floats:
        return Value(INPUT, Grid(grid.scale, np.uint8(int(grid.zero) + 128)))
    name = INPUT if entry.floats else builder.node("Cast", [INPUT], INPUT, to=1)
    offset = builder.constant(np.float32(128), f"{INPUT}/offset")
    return Value(builder.node("Sub", [name, offset], INPUT))
