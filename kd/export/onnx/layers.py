"""Rules for layers with weights and for pooling: convolutions, dense layers, products, windows."""

from collections.abc import Callable, Sequence

import numpy as np

from kd.export.graph import schema
from kd.export.onnx.model import Value
from kd.export.onnx.operation import Operation


def convolution(op: Operation) -> Value:
    """CONV_2D and DEPTHWISE_CONV_2D; groups follow from the shape of the weights."""
    depthwise = op.name == "DEPTHWISE_CONV_2D"
    weight, channels = op.shape(1), op.shape(0)[3]
    size, options = weight[1:3], op.options
    dilations = [options.dilationHFactor, options.dilationWFactor]
    order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
    inputs = [op.builder.real(op.first(0), op.layer)]
    inputs.append(op.constant(1, "weight", lambda w: w.transpose(order)))
    if op.count > 2:
        inputs.append(op.constant(2, "bias"))
    name = op.node(
        "Conv",
        inputs,
        kernel_shape=size,
        strides=[options.strideH, options.strideW],
        dilations=dilations,
        pads=_pads(op, size, dilations),
        group=channels if depthwise else channels // weight[3],
    )
    return Value(name, channels_first=True)


def _pads(op: Operation, size: Sequence[int], dilations: Sequence[int] = (1, 1)) -> list[int]:
    """Zeros before and after each spatial axis: [top, left, bottom, right]. With "SAME" the odd one
    is after.
    """
    if op.options.padding != schema.Padding.SAME:
        return [0, 0, 0, 0]
    before, after = [], []
    strides = (op.options.strideH, op.options.strideW)
    for n, k, stride, dilation in zip(op.shape(0)[1:3], size, strides, dilations, strict=True):
        missing = max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
        before.append(missing // 2)
        after.append(missing - missing // 2)
    return before + after


def dense(op: Operation) -> Value:
    """FULLY_CONNECTED, of an input of any rank."""
    weight = op.constant(1, "weight")
    value, width = op.last(0), op.shape(1)
    if len(op.shape(0)) != 2:
        rows = op.numbers(np.array([-1, width[1]], np.int64), "rows")
        value = op.builder.moved(value, "Reshape", op.layer, rows)
    inputs = [op.builder.real(value, op.layer), weight]
    if op.count > 2:
        inputs.append(op.constant(2, "bias"))
    name = op.node("Gemm", inputs, transB=1)
    if len(op.result) != 2:
        shape = op.numbers(np.array([-1, *op.result[1:]], np.int64), "shape")
        name = op.node("Reshape", [name, shape])
    return Value(name)


def product(op: Operation) -> Value:
    """BATCH_MATMUL of two activations, or of one and a constant."""
    inputs = []
    for k, turned in enumerate((op.options.adjX, op.options.adjY)):
        rank = len(op.shape(k))
        order = [*range(rank - 2), rank - 1, rank - 2] if turned else list(range(rank))
        if op.is_constant(k):
            inputs.append(op.constant(k, "weight", lambda w, order=order: w.transpose(order)))
            continue
        value = op.last(k)
        if turned:
            value = op.builder.moved(value, "Transpose", op.layer, perm=order)
        inputs.append(op.builder.real(value, op.layer))
    return Value(op.node("MatMul", inputs))


def pool(op: Operation) -> Value:
    """AVERAGE_POOL_2D, whose mean leaves padding out, and MAX_POOL_2D."""
    size = [op.options.filterHeight, op.options.filterWidth]
    average = op.name == "AVERAGE_POOL_2D"
    name = op.node(
        "AveragePool" if average else "MaxPool",
        [op.builder.real(op.first(0), op.layer)],
        kernel_shape=size,
        strides=[op.options.strideH, op.options.strideW],
        pads=_pads(op, size),
        **({"count_include_pad": 0} if average else {}),
    )
    return Value(name, channels_first=True)


RULES: dict[str, Callable[[Operation], Value]] = {
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": convolution,
    "FULLY_CONNECTED": dense,
    "BATCH_MATMUL": product,
    "AVERAGE_POOL_2D": pool,
    "MAX_POOL_2D": pool,
}
