"""Rules for operations that move elements: shapes, axes, parts, padding. Integers stay integers."""

from collections.abc import Callable, Sequence

import numpy as np

from kd.export.onnx.model import Value
from kd.export.onnx.operation import CHANNELS_FIRST, Operation

END = np.iinfo(np.int64).max
"""Behind the last element of any axis."""


def reshape(op: Operation) -> Value:
    """RESHAPE, whose shape is that of the output."""
    value = op.last(0)
    if len(op.result) == 2:
        return op.builder.moved(value, "Flatten", op.layer, axis=1)
    shape = op.numbers(np.array([-1, *op.result[1:]], np.int64), "shape")
    return op.builder.moved(value, "Reshape", op.layer, shape)


def transpose(op: Operation) -> Value:
    """TRANSPOSE."""
    order = op.integers(1)
    if order[0] != 0:
        raise op.refuse("of the batch has no ONNX form with a batch of any size")
    return op.builder.moved(op.last(0), "Transpose", op.layer, perm=order)


def concatenation(op: Operation) -> Value:
    """CONCATENATION of activations."""
    axis = op.axis(op.options.axis, len(op.result))
    first = any(op.value(k).channels_first for k in range(op.count))
    values = [op.first(k) if first else op.last(k) for k in range(op.count)]
    inputs = [op.builder.real(value, op.layer) for value in values]
    axis = CHANNELS_FIRST.index(axis) if first else axis
    return Value(op.node("Concat", inputs, axis=axis), channels_first=first)


def pad(op: Operation) -> Value:
    """PAD with zeros, and PADV2 with a constant."""
    widths = op.array(1).astype(np.int64)
    if widths[0].any():
        raise op.refuse("of the batch has no ONNX form with a batch of any size")
    value = op.value(0)
    if value.channels_first:
        widths = widths[list(CHANNELS_FIRST)]
    if op.count > 2:
        content = op.constant(2, "padding", lambda x: x.reshape(()))
    else:
        content = op.numbers(np.float32(0), "padding")
    pads = op.numbers(widths.T.reshape(-1), "pads")
    name = op.node("Pad", [op.builder.real(value, op.layer), pads, content])
    return Value(name, channels_first=value.channels_first)


def broadcast(op: Operation) -> Value:
    """BROADCAST_TO."""
    shape = op.numbers(np.array(op.result, np.int64), "shape")
    return op.builder.moved(op.last(0), "Expand", op.layer, shape)


def part(op: Operation) -> Value:
    """SLICE and STRIDED_SLICE."""
    size, begin = op.shape(0), op.integers(1)
    if op.name == "SLICE":
        lengths = op.integers(2)
        end = [n if k < 0 else b + k for b, k, n in zip(begin, lengths, size, strict=True)]
        steps = [1] * len(size)
    else:
        options, steps = op.options, op.integers(3)
        if options.ellipsisMask or options.newAxisMask or min(steps) < 1:
            raise op.refuse("with an ellipsis, a new axis or backwards has no ONNX form here")
        masked = lambda mask, i: bool(mask >> i & 1)
        begin = [0 if masked(options.beginMask, i) else b % size[i] for i, b in enumerate(begin)]
        end = [
            size[i] if masked(options.endMask, i) else e if e >= 0 else e + size[i]
            for i, e in enumerate(op.integers(2))
        ]
        if options.shrinkAxisMask:
            mask = options.shrinkAxisMask
            end = [begin[i] + 1 if masked(mask, i) else end[i] for i in range(len(size))]
    value = _cut(op, op.last(0), begin, end, steps)
    if len(op.result) != len(size):
        shape = op.numbers(np.array([-1, *op.result[1:]], np.int64), "shape")
        value = op.builder.moved(value, "Reshape", op.layer, shape)
    return value


def _cut(
    op: Operation, value: Value, begin: Sequence[int], end: Sequence[int], steps: Sequence[int]
) -> Value:
    """A part of all axes but the batch, which must be complete."""
    if begin[0] != 0 or end[0] < 1:
        raise op.refuse("of the batch has no ONNX form with a batch of any size")
    axes = list(range(1, len(begin)))
    numbers = lambda values, hint: op.numbers(np.array(values, np.int64), hint)
    inputs = [numbers(begin[1:], "begin"), numbers(end[1:], "end")]
    inputs += [numbers(axes, "axes"), numbers(steps[1:], "steps")]
    return op.builder.moved(value, "Slice", op.layer, *inputs)


def same(op: Operation) -> Value:
    """CAST, QUANTIZE and DEQUANTIZE: other types of the same numbers."""
    return op.value(0)


RULES: dict[str, Callable[[Operation], Value]] = {
    "RESHAPE": reshape,
    "TRANSPOSE": transpose,
    "CONCATENATION": concatenation,
    "PAD": pad,
    "PADV2": pad,
    "BROADCAST_TO": broadcast,
    "SLICE": part,
    "STRIDED_SLICE": part,
    "CAST": same,
    "QUANTIZE": same,
    "DEQUANTIZE": same,
}
