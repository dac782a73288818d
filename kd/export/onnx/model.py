"""Nodes, constants and values of an ONNX model in the making; the only user of the package `onnx`.

The operator set is 17 and the format version 8, which runtimes since 2022 read.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kd.errors import RunError

OPSET = 17
FORMAT_VERSION = 8

INPUT, OUTPUT, BATCH = "image", "logits", "batch"

ELEMENTS = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.int64): TensorProto.INT64,
}


class Grid(NamedTuple):
    """Integers of an activation: q stands for `scale * (q - zero)`.

    Attributes:
      scale: float32.
      zero: zero point, in the type of the integers, int8 or uint8.
    """

    scale: np.float32
    zero: np.generic


class Value(NamedTuple):
    """An activation in the model.

    Attributes:
      name: of its tensor, float32, or integers where `grid` is set.
      grid: of the integers; None for float32.
      channels_first: whether a feature map is held as [b, c, h, w], as ONNX's convolutions take
        it, and not as [b, h, w, c].
    """

    name: str
    grid: Grid | None = None
    channels_first: bool = False


class Cut(NamedTuple):
    """A model whose activations are inputs; see `cut`.

    Attributes:
      content: the model.
      outputs: names of its outputs, by the activation that they are or that is rounded from them.
      grids: of the activations that are rounded from the outputs.
    """

    content: bytes
    outputs: dict[str, str]
    grids: dict[str, Grid]


class Builder:
    """A model in the making. Names are unique, and begin with that of a layer."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._names: set[str] = {INPUT, OUTPUT}
        self._reals: dict[str, str] = {}
        self._grids: dict[tuple[Grid, str], list[str]] = {}

    def _unique(self, name: str) -> str:
        result, number = name, 1
        while result in self._names:
            number += 1
            result = f"{name}_{number}"
        self._names.add(result)
        return result

    def constant(self, value: Any, name: str) -> str:
        """The name of a constant."""
        value = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        name = self._unique(name)
        self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def node(self, operator: str, inputs: Sequence[str], layer: str, **attributes: Any) -> str:
        """Adds an operation, named after its layer; returns the name of its output."""
        name = self._unique(f"{layer}/{operator}")
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def real(self, value: Value, layer: str) -> str:
        """The name of a value as float32; integers are converted once for all readers."""
        if value.grid is None:
            return value.name
        if value.name not in self._reals:
            inputs = [value.name, *self._grid(value.grid, layer)]
            self._reals[value.name] = self.node("DequantizeLinear", inputs, layer)
        return self._reals[value.name]

    def rounded(self, value: Value, grid: Grid, layer: str) -> Value:
        """A value as integers of this grid."""
        if value.grid == grid:
            return value
        inputs = [self.real(value, layer), *self._grid(grid, layer)]
        name = self.node("QuantizeLinear", inputs, layer)
        return Value(name, grid, value.channels_first)

    def _grid(self, grid: Grid, layer: str) -> list[str]:
        if (grid, layer) not in self._grids:
            self._grids[grid, layer] = [
                self.constant(grid.scale, f"{layer}/scale"),
                self.constant(grid.zero, f"{layer}/zero_point"),
            ]
        return self._grids[grid, layer]

    def moved(
        self, value: Value, operator: str, layer: str, *inputs: str, **attributes: Any
    ) -> Value:
        """A value whose elements are moved by an operation, of integers as integers."""
        name = self.node(operator, [value.name, *inputs], layer, **attributes)
        return Value(name, value.grid)

    def channels_first(self, value: Value, layer: str) -> Value:
        """A feature map as [b, c, h, w]."""
        if value.channels_first:
            return value
        moved = self.moved(value, "Transpose", layer, perm=[0, 3, 1, 2])
        return moved._replace(channels_first=True)

    def channels_last(self, value: Value, layer: str) -> Value:
        """A feature map as [b, h, w, c]; other values as they are."""
        if not value.channels_first:
            return value
        return self.moved(value, "Transpose", layer, perm=[0, 2, 3, 1])

    def finish(
        self,
        name: str,
        image: tuple[Sequence[int], np.dtype],
        logits: Value,
        shape: Sequence[int],
        metadata: Mapping[str, str],
    ) -> bytes:
        """The model, checked.

        Args:
          name: of the graph.
          image: shape of one example, and type of its elements.
          logits: the output.
          shape: of the output for one example.
          metadata: of the model, by key.

        Raises:
          RunError: the checker of `onnx` refuses the model.
        """
        self._end(self.real(self.channels_last(logits, OUTPUT), OUTPUT))
        raw, dtype = image
        entry = helper.make_tensor_value_info(INPUT, ELEMENTS[dtype], [BATCH, *raw])
        end = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [BATCH, *shape])
        used = {i for node in self._nodes for i in node.input}
        constants = [c for key, c in self._constants.items() if key in used]
        graph = helper.make_graph(self._nodes, name, [entry], [end], constants)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opset, producer_name="kd", ir_version=FORMAT_VERSION
        )
        helper.set_model_props(model, dict(metadata))
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise RunError(f"the checker of onnx refuses the model: {error}") from error
        return model.SerializeToString(deterministic=True)

    def _end(self, name: str) -> None:
        """Gives the last tensor the name of the output."""
        readers = [i for node in self._nodes for i in node.input]
        if name == INPUT or name in readers:
            self._nodes.append(helper.make_node("Identity", [name], [OUTPUT], name=OUTPUT))
            return
        for node in self._nodes:
            if name in node.output:
                node.output[:] = [OUTPUT]


def cut(content: bytes, values: Mapping[str, Sequence[int]], rounded: bool) -> Cut:
    """A model in which every operation reads what it is fed, not what the one before it computes.

    Args:
      content: the model.
      values: shapes of its int8 activations, by name. Each becomes an input, `fed(name)`.
      rounded: whether the outputs are these integers. Otherwise they are the real numbers that
        QuantizeLinear makes integers of, and the logits.
    """
    model = onnx.load_model_from_string(content)
    graph = model.graph
    constants = {c.name: c for c in graph.initializer}
    writers = {output: node for node in graph.node for output in node.output}
    outputs, grids = {}, {}
    for name, shape in values.items():
        if name not in writers:
            continue
        outputs[name] = name
        if not rounded and writers[name].op_type == "QuantizeLinear":
            outputs[name], *ends = writers[name].input
            scale, zero = (numpy_helper.to_array(constants[end]) for end in ends)
            grids[name] = Grid(np.float32(scale), np.int8(zero))
        entry = helper.make_tensor_value_info(fed(name), TensorProto.INT8, [BATCH, *shape[1:]])
        graph.input.append(entry)
    for node in graph.node:
        node.input[:] = [fed(name) if name in outputs else name for name in node.input]
    if not rounded:
        outputs[OUTPUT] = OUTPUT
    ends = [helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(outputs.values())]
    del graph.output[:]
    graph.output.extend(ends)
    return Cut(model.SerializeToString(deterministic=True), outputs, grids)


def fed(name: str) -> str:
    """The name of the input of `cut` that stands for an activation."""
    return f"fed/{name}"


def constants(content: bytes) -> list[np.ndarray]:
    """The constants of a model."""
    model = onnx.load_model_from_string(content)
    return [numpy_helper.to_array(constant) for constant in model.graph.initializer]


def facts(content: bytes) -> dict[str, Any]:
    """What a model says of itself: `operations` in their order, `metadata`, `opset`, `nodes`, the
    names of its operations.
    """
    model = onnx.load_model_from_string(content)
    return {
        "operations": [node.op_type for node in model.graph.node],
        "nodes": [node.name for node in model.graph.node],
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "opset": model.opset_import[0].version,
    }
