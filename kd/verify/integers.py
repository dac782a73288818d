"""The graph of the integer network in an exported `.tflite` file, with its requantisation.

A value is an integer q of a tensor. An operation computes the real result in the unit of its
output, rounds it, and clips it. Rounding is a term of its own, between -r and r, for each value: an
entry of the image's node beyond the pixels. So the bounds hold for the integers that the file
computes, however each value is rounded within r, and every rule for graphs applies.

r is 0.5 for one rounding. The reference kernels round twice where they shift to the right (a
doubling high product, then a shift), which adds half of 2^-shift of a unit at most. For sums, means
and average pooling r is 1, more than their kernels need.
https://ai.google.dev/edge/litert/models/quantization_spec has the grids.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from scipy import sparse

from kd.errors import InputError
from kd.export import graph as file
from kd.verify import matrices
from kd.verify.graph import Affine, Clip, Graph, Image, Maximum, Node, Weights

LOWEST, HIGHEST = -128, 127
SPARE = 1e-4
"""Beyond the roundings: multipliers of 31 bits in place of real numbers."""

CHANNELS_LAST = jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))

ACTIVATIONS = {0: (-np.inf, np.inf), 1: (0.0, np.inf), 3: (0.0, 6.0)}
"""Limits of fused activations by the schema's number: none, ReLU, ReLU6."""

ROUNDED = (
    "ADD",
    "AVERAGE_POOL_2D",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "MEAN",
    "QUANTIZE",
)


def read(content: bytes) -> tuple[Graph, np.ndarray]:
    """The graph of an int8 file, and how far each entry of its image's node may be from its centre
    by rounding: 0 for pixels (levels 0 to 255), r for the rounding terms, whose centre is 0.

    Raises:
      InputError: an operation has no rule here.
    """
    return _Reader(content).read()


class _Reader:
    def __init__(self, content: bytes):
        self._model = file.read(content)
        self._file = self._model.subgraphs[0]
        first = self._file.tensors[self._file.inputs[0]]
        self._pixels = int(np.prod(first.shape))
        names = [file.name_of(self._model, op) for op in self._file.operators]
        rounded = [
            op for op, name in zip(self._file.operators, names, strict=True) if name in ROUNDED
        ]
        count = sum(int(np.prod(self._file.tensors[op.outputs[0]].shape)) for op in rounded)
        self._size = self._pixels + count
        self._reach: list[np.ndarray] = [np.zeros(self._pixels)]
        self._nodes: list[Node] = [Image(self._size)]
        self._at: dict[int, int] = {}

    def read(self) -> tuple[Graph, np.ndarray]:
        shift = matrices.places(np.arange(self._pixels), self._size)
        constant = np.full(self._pixels, -128.0)
        self._nodes.append(Affine((0,), (Weights(shift),), constant, -constant, 0, "the image"))
        self._at[self._file.inputs[0]] = 1
        for op in self._file.operators:
            self._operation(file.name_of(self._model, op), op)
        last = self._at[self._file.outputs[0]]
        zero, size = np.zeros(self._nodes[last].size), self._nodes[last].size
        unit = sparse.csr_array(sparse.eye_array(size, format="csr"))
        self._nodes.append(Affine((last,), (Weights(unit),), zero, zero, 0, "the logits"))
        return Graph(self._nodes), np.concatenate(self._reach)

    def _operation(self, name: str, op: Any) -> None:
        ins = [self._file.tensors[i] for i in op.inputs if i >= 0]
        out, source = self._file.tensors[op.outputs[0]], op.inputs[0]
        options, result = op.builtinOptions, op.outputs[0]
        if name == "RESHAPE":
            self._at[result] = self._at[source]
        elif name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            weights = self._constant(op.inputs[1], np.int8)
            scale = np.asarray(ins[1].quantization.scale, np.float64)
            matrix, channel = _product(name, ins[0].shape, out.shape, weights, options)
            factor = np.broadcast_to(scale, out.shape[-1:])[channel] * _scale(ins[0]) / _scale(out)
            bias = np.zeros(len(channel))
            if len(op.inputs) > 2 and op.inputs[2] >= 0:
                bias = self._constant(op.inputs[2], np.int32)[channel].astype(float)
            matrix = sparse.csr_array(sparse.diags_array(factor) @ matrix)
            self._affine([(source, matrix, _zero(ins[0]))], factor * bias, out, options, factor)
        elif name in ("ADD", "QUANTIZE"):
            n = int(np.prod(out.shape))
            eye = sparse.csr_array(sparse.eye_array(n, format="csr"))
            terms = []
            for i, tensor in zip(op.inputs, ins, strict=True):
                if i not in self._at or tensor.shape != out.shape:
                    self._refuse(name)
                terms.append((i, _scale(tensor) / _scale(out) * eye, _zero(tensor)))
            self._affine(terms, np.zeros(n), out, options, None)
        elif name in ("MEAN", "AVERAGE_POOL_2D"):
            if name == "MEAN":
                axes = self._constant(op.inputs[1], np.int32).ravel().tolist()
                window = matrices.reduced(ins[0].shape, axes)
            else:
                window = _window(ins[0].shape, out.shape, options)
            total = matrices.sums(window, int(np.prod(ins[0].shape)))
            share = _scale(ins[0]) / _scale(out) / (window >= 0).sum(axis=1)
            matrix = sparse.csr_array(sparse.diags_array(share) @ total)
            zero = _zero(ins[0])
            self._affine([(source, matrix, zero)], np.zeros(len(window)), out, options, None)
        elif name == "MAX_POOL_2D":
            node = Maximum((self._at[source],), _window(ins[0].shape, out.shape, options), name)
            self._add(node, result)
        elif name == "CONCATENATION":
            self._join(op, ins, out)
        elif name in ("PAD", "PADV2"):
            padding = self._constant(op.inputs[1], np.int32).reshape(-1, 2)
            index = np.arange(int(np.prod(ins[0].shape))).reshape(ins[0].shape)
            index = np.pad(index, padding, constant_values=-1).ravel()
            filled = np.where(index < 0, float(_zero(out)), 0.0)
            matrix = matrices.places(index, int(np.prod(ins[0].shape)))
            weights = (Weights(matrix),)
            self._add(Affine((self._at[source],), weights, filled, abs(filled), 0, name), result)
        else:
            self._refuse(name)

    def _join(self, op: Any, ins: Sequence[Any], out: Any) -> None:
        index = np.arange(int(np.prod(out.shape))).reshape(out.shape)
        axis = op.builtinOptions.axis
        parts = np.split(index, np.cumsum([t.shape[axis] for t in ins])[:-1], axis)
        terms = []
        for i, tensor, part in zip(op.inputs, ins, parts, strict=True):
            place = np.full(index.size, -1)
            place[part.ravel()] = np.arange(part.size)
            matrix = _scale(tensor) / _scale(out) * matrices.places(place, part.size)
            terms.append((i, sparse.csr_array(matrix), _zero(tensor)))
        self._affine(terms, np.zeros(index.size), out, op.builtinOptions, None)

    def _affine(
        self,
        terms: Sequence[tuple[int, sparse.csr_array, int]],
        constant: np.ndarray,
        out: Any,
        options: Any,
        factor: np.ndarray | None,
    ) -> None:
        """zero + sum of matrix (q - zero of the input) + constant + rounding, then clipped."""
        n = len(constant)
        inputs, weights = [], []
        bias = constant + _zero(out)
        for source, matrix, zero in terms:
            inputs.append(self._at[source])
            weights.append(Weights(sparse.csr_array(matrix)))
            bias = bias - zero * np.asarray(matrix.sum(axis=1)).ravel()
        spread = 1.0 if factor is None else _rounding(factor)
        self._reach.append(np.broadcast_to(spread, (n,)).astype(np.float64))
        first = sum(len(part) for part in self._reach[:-1])
        entries = (np.ones(n), (np.arange(n), first + np.arange(n)))
        inputs.append(0)
        weights.append(Weights(sparse.csr_array(entries, shape=(n, self._size))))
        name = out.name.decode() if isinstance(out.name, bytes) else str(out.name)
        node = Affine(tuple(inputs), tuple(weights), bias, abs(bias), 0, name)
        self._nodes.append(node)
        fused = getattr(options, "fusedActivationFunction", 0)
        if fused not in ACTIVATIONS:
            self._refuse(f"the fused activation {fused}")
        low, high = ACTIVATIONS[fused]
        scale, zero = _scale(out), _zero(out)
        least = max(LOWEST, zero + low / scale)
        most = min(HIGHEST, zero + (high if math.isinf(high) else round(high / scale)))
        clip = Clip((len(self._nodes) - 1,), np.full(n, least), np.full(n, float(most)), name)
        result = next(i for i, tensor in enumerate(self._file.tensors) if tensor is out)
        self._add(clip, result)

    def _add(self, node: Node, result: int) -> None:
        self._nodes.append(node)
        self._at[result] = len(self._nodes) - 1

    def _constant(self, index: int, dtype: Any) -> np.ndarray:
        tensor = self._file.tensors[index]
        data = np.asarray(self._model.buffers[tensor.buffer].data, np.uint8).tobytes()
        return np.frombuffer(data, dtype).reshape(tensor.shape)

    def _refuse(self, name: str) -> None:
        raise InputError(
            f"--int8: kd verify has no rule for {name} in the exported file. It knows dense "
            "layers, convolutions, sums, concatenation, means, pooling and padding."
        )


def _scale(tensor: Any) -> float:
    return float(tensor.quantization.scale[0])


def _zero(tensor: Any) -> int:
    return int(tensor.quantization.zeroPoint[0])


def _rounding(factor: np.ndarray) -> np.ndarray:
    """r of an operation whose accumulators are multiplied by `factor` in fixed point."""
    _, exponent = np.frexp(factor)
    shift = np.maximum(-exponent, 0)
    return 0.5 + np.where(shift > 0, 0.5 * 2.0**-shift, 0) + SPARE


def _product(
    name: str, shape: Sequence[int], out: Sequence[int], weights: np.ndarray, options: Any
) -> tuple[sparse.csr_array, np.ndarray]:
    """The matrix of the weights' integers, and the output channel of each row."""
    channel = np.arange(int(np.prod(out))) % out[-1]
    if name == "FULLY_CONNECTED":
        matrix = sparse.csr_array(weights.reshape(weights.shape[0], -1).astype(np.float64))
        rows = int(np.prod(shape)) // weights.shape[-1]
        return sparse.csr_array(sparse.kron(sparse.eye_array(rows), matrix, "csr")), channel
    groups = 1
    kernel = weights.transpose(1, 2, 3, 0)  # from OHWI
    if name == "DEPTHWISE_CONV_2D":
        groups = shape[-1]
        kernel = weights.transpose(1, 2, 0, 3)  # from 1HWC
    strides = (options.strideH, options.strideW)
    dilation = (options.dilationHFactor, options.dilationWFactor)
    sizes = zip(shape[1:3], out[1:3], kernel.shape[:2], strides, dilation, strict=True)
    params = {
        "dimension_numbers": CHANNELS_LAST,
        "feature_group_count": groups,
        "window_strides": strides,
        "padding": [_padding(*size) if options.padding == 0 else (0, 0) for size in sizes],
        "lhs_dilation": None,
        "rhs_dilation": dilation,
    }
    return matrices.convolution(shape, kernel.astype(np.float64), params), channel


def _padding(size: int, out: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after an axis by the rule SAME."""
    total = max(0, (out - 1) * stride + (window - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def _window(shape: Sequence[int], out: Sequence[int], options: Any) -> np.ndarray:
    """Windows of pooling."""
    window, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    sizes = zip(shape[1:3], out[1:3], window, stride, strict=True)
    space = [_padding(*size) if options.padding == 0 else (0, 0) for size in sizes]
    params = {
        "window_dimensions": (1, *window, 1),
        "window_strides": (1, *stride, 1),
        "padding": ((0, 0), *space, (0, 0)),
    }
    return matrices.pooled(shape, params)
