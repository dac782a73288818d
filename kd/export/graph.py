"""The operations inside a `.tflite` file: read, named, rearranged for microcontrollers, and written again.

The schema is generated code inside `ai_edge_litert`; nothing else of kd knows it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kd.errors import InputError
from kd.export import blame

IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # what the schema asks of constants; a Cortex-M0 faults on less than 4

NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
TYPES = {v: k for k, v in vars(schema.TensorType).items() if isinstance(v, int)}

VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "ADD": 2,
    "SUB": 3,
    "MUL": 2,
    "MEAN": 2,
    "AVERAGE_POOL_2D": 2,
    "MAX_POOL_2D": 2,
    "PAD": 2,
    "PADV2": 2,
    "SOFTMAX": 2,
    "LOGISTIC": 2,
    "CONCATENATION": 2,
    "TRANSPOSE": 2,
}
"""Version from which an operator takes int8. The quantizer leaves 1, which strict importers refuse."""


class Operation(NamedTuple):
    """One operation: its name in the schema, the layer of the network that it came from, and the types of its activations."""

    name: str
    layer: str
    types: tuple[str, ...]


class Tensor(NamedTuple):
    """Input or output: its shape, and how integers in it are to be read (`scale * (q - zero)`), 0 where they are not."""

    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero: int


def read(content: bytes) -> Any:
    """The file as the schema's objects."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def write(model: Any) -> bytes:
    """The objects as a file, the same for the same objects, every constant aligned."""
    model.buffers = [_Aligned(buffer.data) for buffer in model.buffers]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


class _Aligned(schema.BufferT):
    """The schema's own buffer, whose generated code forgets `force_align`."""

    def Pack(self, builder: Any) -> int:
        data = None
        if self.data is not None and len(self.data):
            content = np.asarray(self.data, np.uint8).tobytes()
            builder.StartVector(1, len(content), ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def operations(content: bytes) -> list[Operation]:
    """What the file computes, in order."""
    model = read(content)
    graph = model.subgraphs[0]
    return [
        Operation(
            _name(model, op),
            blame.layer(graph.tensors[op.outputs[0]].name.decode(errors="replace")),
            tuple(
                TYPES[graph.tensors[i].type]
                for i in (*op.inputs, *op.outputs)
                if i >= 0 and not _constant(model, graph.tensors[i])
            ),
        )
        for op in graph.operators
    ]


def activations(content: bytes) -> list[str]:
    """Names of the tensors that differ from example to example, the input first."""
    model = read(content)
    graph = model.subgraphs[0]
    outputs = [i for op in graph.operators for i in op.outputs]
    return [graph.tensors[i].name.decode() for i in (*graph.inputs, *outputs)]


def ends(content: bytes) -> tuple[Tensor, Tensor]:
    """The input and the output."""
    graph = read(content).subgraphs[0]
    return _end(graph.tensors[graph.inputs[0]]), _end(graph.tensors[graph.outputs[0]])


def check_integers(content: bytes) -> None:
    """Raises InputError, naming operation and layer, where an operation is not int8."""
    for op in operations(content):
        if any("FLOAT" in kind for kind in op.types):
            raise InputError(
                f"{op.layer}: {op.name} has no int8 form, and would run in floating point. "
                "Use another layer there, or export without --int8."
            )


def for_kernels(content: bytes) -> bytes:
    """The int8 file with the operations that `bakenn` has: no mean over the map, and dense layers whose input is flat.

    A mean becomes a depthwise convolution of equal weights. An average pool would do in its place, but its output has the
    scale of its input, which costs two bits of the pooled features; the weights cost one byte for each value of the map.
    """
    model = read(content)
    graph = model.subgraphs[0]
    graph.operators = list(_rearranged(model, graph))
    return write(model)


def finish(content: bytes) -> bytes:
    """The file without what costs flash and computes nothing, and with the operators' true versions.

    Tensor names hold the whole path of each JAX operation, a fifth of a small network.
    """
    model = read(content)
    graph = model.subgraphs[0]
    for i, tensor in enumerate(graph.tensors):
        tensor.name = f"t{i}".encode()
    graph.name, model.description = None, None
    model.metadata, model.metadataBuffer = None, None
    quantized = TYPES[graph.tensors[graph.inputs[0]].type] == "INT8"
    codes = []  # an operator with and one without bias have different versions
    for op in graph.operators:
        name, code = _name(model, op), model.operatorCodes[op.opcodeIndex]
        version = code.version
        if name == "FULLY_CONNECTED":
            biased = len(op.inputs) > 2 and op.inputs[2] >= 0
            version = (4 if quantized else 1) if biased else 6
        elif quantized:
            version = max(version, VERSIONS.get(name, 1))
        wanted = (code.builtinCode, version)
        if wanted not in codes:
            codes.append(wanted)
        op.opcodeIndex = codes.index(wanted)
    model.operatorCodes = [_code(*wanted) for wanted in codes]
    _drop_unused(model, graph)
    return write(model)


def _rearranged(model: Any, graph: Any) -> Iterator[Any]:
    for op in graph.operators:
        name = _name(model, op)
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
            # The converter gives the shape as an input alone.
            options = schema.ReshapeOptionsT(newShape=list(y.shape))
            op.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
            op.builtinOptions = options
        if name == "FULLY_CONNECTED" and len(y.shape) == 2:
            op.builtinOptions.keepNumDims = False  # says nothing of a flat input
            if len(x.shape) != 2:
                shape = (1, math.prod(x.shape))
                op.inputs[0], reshape = _reshape(model, graph, op.inputs[0], shape)
                yield reshape
        yield op


def _pooled(model: Any, graph: Any, op: Any) -> tuple[int, int] | None:
    """Height and width of a map over all of which a MEAN goes; None where it goes over something else."""
    x, axes = graph.tensors[op.inputs[0]], _ints(model, graph.tensors[op.inputs[1]])
    rank = len(x.shape)
    if {axis % rank for axis in axes} != set(range(1, rank - 1)) or rank not in (3, 4):
        return None
    return int(x.shape[1]), int(x.shape[2]) if rank == 4 else 1


def _average(
    model: Any, graph: Any, source: int, target: int, size: tuple[int, int]
) -> Any:
    """A depthwise convolution over the whole map whose weights are all 1 / (height * width)."""
    channels = int(graph.tensors[target].shape[-1])
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
    model: Any,
    graph: Any,
    source: int,
    shape: tuple[int, ...],
    target: int | None = None,
) -> tuple[int, Any]:
    """A RESHAPE of tensor `source`, and the tensor that it gives: `target`, or a new one."""
    if target is None:
        target = _tensor(graph, shape, graph.tensors[source])
    constant = _constant_tensor(model, graph, np.array(shape, "<i4"))
    options = schema.ReshapeOptionsT(newShape=list(shape))
    kind = schema.BuiltinOptions.ReshapeOptions
    return target, _operator(
        model, "RESHAPE", [source, constant], target, kind, options
    )


def _tensor(graph: Any, shape: Sequence[int], like: Any) -> int:
    """Index of a new activation of the type and scale of another."""
    tensor = schema.TensorT(shape=list(shape), type=like.type)
    tensor.name, tensor.quantization = b"t%d" % len(graph.tensors), like.quantization
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _constant_tensor(model: Any, graph: Any, value: np.ndarray) -> int:
    """Index of a new constant, int8 or int32."""
    kind = "INT8" if value.dtype.itemsize == 1 else "INT32"
    at = _tensor(
        graph, value.shape, schema.TensorT(type=getattr(schema.TensorType, kind))
    )
    model.buffers.append(schema.BufferT(value.reshape(-1).view(np.uint8)))
    graph.tensors[at].buffer = len(model.buffers) - 1
    return at


def _operator(
    model: Any, name: str, inputs: list[int], output: int, kind: int, options: Any
) -> Any:
    wanted = getattr(schema.BuiltinOperator, name)
    codes = [code.builtinCode for code in model.operatorCodes]
    if wanted not in codes:
        model.operatorCodes.append(_code(wanted, VERSIONS.get(name, 1)))
        codes.append(wanted)
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = codes.index(wanted), inputs, [output]
    op.builtinOptionsType, op.builtinOptions = kind, options
    return op


def _code(builtin: int, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, version
    code.deprecatedBuiltinCode = min(builtin, 127)  # what readers before 2020 look at
    return code


def _drop_unused(model: Any, graph: Any) -> None:
    """Leaves out tensors and constants that no operation reads or writes."""
    used = sorted(
        {i for op in graph.operators for i in (*op.inputs, *op.outputs) if i >= 0}
        | set(graph.inputs)
        | set(graph.outputs)
    )
    at = {int(old): new for new, old in enumerate(used)} | {-1: -1}
    moved = lambda indices: [at[int(i)] for i in indices]
    graph.tensors = [graph.tensors[i] for i in used]
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for op in graph.operators:
        op.inputs, op.outputs = moved(op.inputs), moved(op.outputs)
    for signature in model.signatureDefs or ():
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = at[entry.tensorIndex]
    buffers = [schema.BufferT()]  # the first is empty by convention
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        tensor.buffer = 0
        if data is not None and len(data):
            buffers.append(schema.BufferT(data))
            tensor.buffer = len(buffers) - 1
    model.buffers = buffers


def _name(model: Any, op: Any) -> str:
    code = model.operatorCodes[op.opcodeIndex]
    return NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _ints(model: Any, tensor: Any) -> list[int]:
    data = model.buffers[tensor.buffer].data
    return np.asarray(data, np.uint8).view("<i4").tolist()


def _end(tensor: Any) -> Tensor:
    found = tensor.quantization
    scaled = found is not None and found.scale is not None and len(found.scale)
    return Tensor(
        tuple(int(n) for n in tensor.shape),
        TYPES[tensor.type],
        float(found.scale[0]) if scaled else 0.0,
        int(found.zeroPoint[0]) if scaled else 0,
    )
