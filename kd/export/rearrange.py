"""An int8 file rearranged for `bakenn`, which has fewer operations than LiteRT."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kd.export.graph import VERSIONS, code_of, name_of, read, schema, write


def for_kernels(content: bytes) -> bytes:
    """Rewrites an int8 file to operations of `bakenn`: no mean over the map, and flat inputs of
    dense layers.

    A mean becomes a depthwise convolution with equal weights. An average pool would do, but its
    output has the scale of its input, which costs two bits of the pooled features; the weights cost
    one byte for each value of the map.
    """
    model = read(content)
    graph = model.subgraphs[0]
    graph.operators = list(_rearranged(model, graph))
    return write(model)


def _rearranged(model: Any, graph: Any) -> Iterator[Any]:
    for op in graph.operators:
        name = name_of(model, op)
        x, y = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
        if name == "MEAN" and (size := _pooled(model, graph, op)):
            source, channels = op.inputs[0], x.shape[-1]
            if len(x.shape) == 3:
                source, reshape = _reshape(model, graph, source, (1, *size, channels))
                yield reshape
            pooled = _tensor(graph, (1, 1, 1, channels), y)
            yield _average(model, graph, source, pooled, size)
            yield _reshape(model, graph, pooled, tuple(y.shape), op.outputs[0])[1]
            continue
        if name == "RESHAPE" and op.builtinOptions is None:
            # The converter writes the shape as an input only.
            options = schema.ReshapeOptionsT(newShape=y.shape)
            op.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
            op.builtinOptions = options
        if name == "FULLY_CONNECTED" and math.prod(y.shape[:-1]) == 1:
            op.builtinOptions.keepNumDims = False
            if len(x.shape) != 2:
                shape = (1, math.prod(x.shape))
                source, reshape = _reshape(model, graph, op.inputs[0], shape)
                op.inputs[0] = source
                yield reshape
            if len(y.shape) != 2:
                flat, target = _tensor(graph, (1, y.shape[-1]), y), op.outputs[0]
                op.outputs = [flat]
                yield op
                yield _reshape(model, graph, flat, tuple(y.shape), target)[1]
                continue
        yield op


def _pooled(model: Any, graph: Any, op: Any) -> tuple[int, int] | None:
    """Height and width of the map where a MEAN is over all of it; None where it is over other
    axes.
    """
    x, axes = graph.tensors[op.inputs[0]], _ints(model, graph.tensors[op.inputs[1]])
    rank = len(x.shape)
    reduced = {axis % rank for axis in axes}
    kept = set(range(1, rank - 1)) - reduced
    if rank not in (3, 4) or reduced & {0, rank - 1} or any(x.shape[i] != 1 for i in kept):
        return None
    return x.shape[1], x.shape[2] if rank == 4 else 1


def _average(model: Any, graph: Any, source: int, target: int, size: tuple[int, int]) -> Any:
    """A depthwise convolution over the full map with all weights 1 / (height * width)."""
    channels = graph.tensors[target].shape[-1]
    weights = _constant_tensor(model, graph, np.full((1, *size, channels), 127, "i1"))
    graph.tensors[weights].quantization = schema.QuantizationParametersT(
        scale=[1 / (127 * size[0] * size[1])], zeroPoint=[0]
    )
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.depthMultiplier = 1
    options.dilationHFactor = options.dilationWFactor = 1
    kind = schema.BuiltinOptions.DepthwiseConv2DOptions
    inputs = [source, weights, -1]
    return _operator(model, "DEPTHWISE_CONV_2D", inputs, target, kind, options)


def _reshape(
    model: Any, graph: Any, source: int, shape: tuple[int, ...], target: int | None = None
) -> tuple[int, Any]:
    """A RESHAPE of tensor `source`: its output, `target` or a new tensor, and the operation."""
    if target is None:
        target = _tensor(graph, shape, graph.tensors[source])
    constant = _constant_tensor(model, graph, np.array(shape, "<i4"))
    options = schema.ReshapeOptionsT(newShape=list(shape))
    kind = schema.BuiltinOptions.ReshapeOptions
    return target, _operator(model, "RESHAPE", [source, constant], target, kind, options)


def _tensor(graph: Any, shape: Sequence[int], like: Any) -> int:
    """Index of a new activation with the type and scale of tensor `like`."""
    tensor = schema.TensorT(shape=list(shape), type=like.type)
    tensor.name, tensor.quantization = b"t%d" % len(graph.tensors), like.quantization
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _constant_tensor(model: Any, graph: Any, value: np.ndarray) -> int:
    """Index of a new constant, int8 or int32."""
    kind = "INT8" if value.dtype.itemsize == 1 else "INT32"
    index = _tensor(graph, value.shape, schema.TensorT(type=getattr(schema.TensorType, kind)))
    model.buffers.append(schema.BufferT(value.reshape(-1).view(np.uint8)))
    graph.tensors[index].buffer = len(model.buffers) - 1
    return index


def _operator(
    model: Any, name: str, inputs: list[int], output: int, kind: int, options: Any
) -> Any:
    builtin = getattr(schema.BuiltinOperator, name)
    codes = [code.builtinCode for code in model.operatorCodes]
    if builtin not in codes:
        model.operatorCodes.append(code_of(builtin, VERSIONS.get(name, 1)))
        codes.append(builtin)
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = codes.index(builtin), inputs, [output]
    op.builtinOptionsType, op.builtinOptions = kind, options
    return op


def _ints(model: Any, tensor: Any) -> list[int]:
    data = model.buffers[tensor.buffer].data
    return np.asarray(data, np.uint8).view("<i4").tolist()
