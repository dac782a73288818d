"""An operation of a LiteRT file with what it reads, for the rules that write it in ONNX."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kd.errors import InputError
from kd.export import graph
from kd.export.onnx.model import Builder, Grid, Value

TYPES = {
    "FLOAT32": np.float32,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}

CHANNELS_FIRST = (0, 3, 1, 2)
"""Axes of a feature map [b, h, w, c] in the order of [b, c, h, w]."""


class Operation:
    """An operation, whose activations have the batch as their first axis.

    Attributes:
      builder: of the model.
      name: in the schema of LiteRT, such as "CONV_2D".
      layer: of the network.
      options: of the schema; None where it has none.
      outputs: indices of the tensors that it writes.
    """

    def __init__(
        self, model: Any, op: Any, layer: str, builder: Builder, values: dict[int, Value]
    ) -> None:
        self._model, self._graph = model, model.subgraphs[0]
        self._inputs, self._values = op.inputs, values
        self.builder = builder
        self.name = graph.name_of(model, op)
        self.layer = layer
        self.options = op.builtinOptions
        self.outputs: list[int] = op.outputs

    def refuse(self, why: str) -> InputError:
        """An error that names the operation and its layer."""
        return InputError(
            f"{self.layer}: {self.name} {why}. Use another layer there, or --format stablehlo."
        )

    @property
    def count(self) -> int:
        """Number of inputs, those left out at the end excluded."""
        return sum(i >= 0 for i in self._inputs)

    def shape(self, k: int) -> list[int]:
        """Shape of input k."""
        return self._graph.tensors[self._inputs[k]].shape

    @property
    def result(self) -> list[int]:
        """Shape of the first output."""
        return self._graph.tensors[self.outputs[0]].shape

    def grid(self, index: int) -> Grid | None:
        """The integers of tensor `index`; None where it is no int8 activation."""
        return grid_of(self._graph.tensors[index])

    def value(self, k: int) -> Value:
        """Input k, an activation. Raises InputError where it is a constant."""
        if self._inputs[k] not in self._values:
            raise self.refuse(f"of a constant as input {k} has no ONNX form here")
        return self._values[self._inputs[k]]

    def is_constant(self, k: int) -> bool:
        """Whether input k is a constant."""
        return self._inputs[k] not in self._values

    def array(self, k: int) -> np.ndarray:
        """The numbers of input k, a constant. Raises InputError where it is an activation."""
        tensor = self._graph.tensors[self._inputs[k]]
        data = self._model.buffers[tensor.buffer].data
        kind = graph.TYPES[tensor.type]
        if not self.is_constant(k) or kind not in TYPES:
            raise self.refuse(f"with a computed input {k} has no ONNX form here")
        content = b"" if data is None else np.asarray(data, np.uint8).tobytes()
        return np.frombuffer(content, TYPES[kind]).reshape(tensor.shape)

    def integers(self, k: int) -> list[int]:
        """Input k, a constant, as a list."""
        return [int(i) for i in self.array(k).reshape(-1)]

    def real(self, k: int) -> str:
        """The name of input k, an activation, as float32."""
        return self.builder.real(self.value(k), self.layer)

    def constant(
        self,
        k: int,
        hint: str,
        arrange: Callable[[np.ndarray], np.ndarray] = lambda x: x,
        axis: int = 0,
    ) -> str:
        """The name of input k, a constant, as real numbers: of integers behind their scale.

        Args:
          k: of the input.
          hint: end of the name, such as "weight".
          arrange: of the numbers in another order.
          axis: of the arranged numbers, along which scales are.
        """
        array = arrange(self.array(k))
        quantization = self._graph.tensors[self._inputs[k]].quantization
        scale = None if quantization is None else quantization.scale
        if array.dtype in (np.float32, np.bool_) or scale is None or not len(scale):
            return self.builder.constant(array, f"{self.layer}/{hint}")
        inputs = [self.builder.constant(array, f"{self.layer}/{hint}")]
        scale = np.asarray(scale, np.float32)
        zero = np.asarray(quantization.zeroPoint).astype(array.dtype)
        if many := len(scale) > 1:
            zero = np.broadcast_to(zero, scale.shape)
        else:
            scale, zero = scale[0], zero[0]
        inputs.append(self.builder.constant(scale, f"{self.layer}/{hint}_scale"))
        if array.dtype == np.int8:
            inputs.append(self.builder.constant(zero, f"{self.layer}/{hint}_zero_point"))
        elif np.any(zero):
            raise self.refuse("with a zero point of its bias has no ONNX form")
        axes = {"axis": axis} if many else {}
        return self.builder.node("DequantizeLinear", inputs, f"{self.layer}/{hint}", **axes)

    def numbers(self, value: Any, hint: str) -> str:
        """The name of a new constant."""
        return self.builder.constant(value, f"{self.layer}/{hint}")

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds an operation of this layer; returns the name of its output."""
        return self.builder.node(operator, inputs, self.layer, **attributes)

    def last(self, k: int) -> Value:
        """Input k, with feature maps as [b, h, w, c]."""
        return self.builder.channels_last(self.value(k), self.layer)

    def first(self, k: int) -> Value:
        """Input k, a feature map, as [b, c, h, w]."""
        return self.builder.channels_first(self.value(k), self.layer)

    def axes(self, k: int, rank: int) -> list[int]:
        """Input k, a constant, as axes from 0; the batch is refused."""
        return [self.axis(i, rank) for i in self.integers(k)]

    def axis(self, index: int, rank: int) -> int:
        """An axis from 0. Raises InputError for the batch."""
        if index % rank == 0:
            raise self.refuse("over the batch has no ONNX form with a batch of any size")
        return index % rank

    @property
    def elements(self) -> int:
        """Number of elements of the first output."""
        return math.prod(self.result)


def grid_of(tensor: Any) -> Grid | None:
    """The integers of a tensor of the schema; None where it is no int8 with a scale."""
    quantization = tensor.quantization
    scaled = quantization is not None and quantization.scale is not None and len(quantization.scale)
    if graph.TYPES[tensor.type] != "INT8" or not scaled:
        return None
    return Grid(np.float32(quantization.scale[0]), np.int8(quantization.zeroPoint[0]))
