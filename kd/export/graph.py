"""Reads, describes, cleans and writes `.tflite` files by their schema."""

from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kd.errors import InputError
from kd.export import layer_names

IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # of constants, by the schema; a Cortex-M0 faults on less than 4

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
"""First version of an operator that takes int8. The quantizer writes 1; some importers refuse
it.
"""


class Operation(NamedTuple):
    """An operation: its name in the schema, its layer of the network, types of its activations."""

    name: str
    layer: str
    types: tuple[str, ...]


class Tensor(NamedTuple):
    """Input or output of a file. An integer q in it stands for `scale * (q - zero)`; both are 0 for
    floating point.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero: int


def read(content: bytes) -> Any:
    """The file as objects of the schema, with shapes and indices as lists of int."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    plain = lambda numbers: [int(n) for n in (() if numbers is None else numbers)]
    for buffer in model.buffers:
        if buffer.size:  # large constants are behind the schema's part of the file
            part = content[buffer.offset : buffer.offset + buffer.size]
            buffer.data = np.frombuffer(part, np.uint8)
    for graph in model.subgraphs:
        graph.inputs, graph.outputs = plain(graph.inputs), plain(graph.outputs)
        for tensor in graph.tensors:
            tensor.shape = plain(tensor.shape)
        for op in graph.operators:
            op.inputs, op.outputs = plain(op.inputs), plain(op.outputs)
    return model


def write(model: Any) -> bytes:
    """The file of these objects: equal for equal objects, with every constant aligned."""
    model.buffers = [_Aligned(buffer.data) for buffer in model.buffers]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


class _Aligned(schema.BufferT):
    """A buffer of the schema; the generated class ignores `force_align`."""

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
    """The operations of the file, in order."""
    model = read(content)
    graph = model.subgraphs[0]
    return [
        Operation(
            name_of(model, op),
            layer_names.layer(graph.tensors[op.outputs[0]].name.decode(errors="replace")),
            tuple(
                TYPES[graph.tensors[i].type]
                for i in (*op.inputs, *op.outputs)
                if i >= 0 and not _constant(model, graph.tensors[i])
            ),
        )
        for op in graph.operators
    ]


def activations(content: bytes) -> list[str]:
    """Names of the tensors that depend on the example, the input first."""
    model = read(content)
    graph = model.subgraphs[0]
    outputs = [i for op in graph.operators for i in op.outputs]
    return [graph.tensors[i].name.decode() for i in (*graph.inputs, *outputs)]


def ends(content: bytes) -> tuple[Tensor, Tensor]:
    """The input and the output."""
    graph = read(content).subgraphs[0]
    return _tensor(graph.tensors[graph.inputs[0]]), _tensor(graph.tensors[graph.outputs[0]])


def check_integers(content: bytes) -> None:
    """Raises InputError, naming operation and layer, where an operation is not int8."""
    floating = [op for op in operations(content) if any("FLOAT" in t for t in op.types)]
    # Conversions before and after an operation are not at fault themselves.
    at_fault = [op for op in floating if op.name not in ("QUANTIZE", "DEQUANTIZE")]
    for op in at_fault or floating:
        raise InputError(
            f"{op.layer}: {op.name} has no int8 form, and would run in floating point. "
            "Use another layer there, or export without --int8."
        )


def finish(content: bytes) -> bytes:
    """Removes what costs flash and computes nothing, and sets the operators' true versions.

    Tensor names hold the full path of each JAX operation: a fifth of the file of a small network.
    """
    model = read(content)
    graph = model.subgraphs[0]
    graph.name, model.description = None, None
    model.metadata, model.metadataBuffer = None, None
    _drop_unused(model, graph)
    for i, tensor in enumerate(graph.tensors):
        tensor.name = f"t{i}".encode()
    quantized = TYPES[graph.tensors[graph.outputs[0]].type] == "INT8"
    codes = []  # operators with and without bias have different versions
    for op in graph.operators:
        name, code = name_of(model, op), model.operatorCodes[op.opcodeIndex]
        version = code.version
        if name == "FULLY_CONNECTED":
            biased = len(op.inputs) > 2 and op.inputs[2] >= 0
            version = (4 if quantized else 1) if biased else 6
        elif quantized:
            version = max(version, VERSIONS.get(name, 1))
        key = (code.builtinCode, version)
        if key not in codes:
            codes.append(key)
        op.opcodeIndex = codes.index(key)
    model.operatorCodes = [code_of(*key) for key in codes]
    return write(model)


def code_of(builtin: int, version: int) -> Any:
    """The operator code of an operator and version."""
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, version
    code.deprecatedBuiltinCode = min(builtin, 127)  # for readers before 2020
    return code


def _drop_unused(model: Any, graph: Any) -> None:
    """Removes tensors and constants that no operation reads or writes."""
    used = sorted(
        {i for op in graph.operators for i in (*op.inputs, *op.outputs) if i >= 0}
        | set(graph.inputs)
        | set(graph.outputs)
    )
    new_index = {old: new for new, old in enumerate(used)} | {-1: -1}
    renumbered = lambda indices: [new_index[i] for i in indices]
    graph.tensors = [graph.tensors[i] for i in used]
    graph.inputs, graph.outputs = renumbered(graph.inputs), renumbered(graph.outputs)
    for op in graph.operators:
        op.inputs, op.outputs = renumbered(op.inputs), renumbered(op.outputs)
    for signature in model.signatureDefs or ():
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = new_index[entry.tensorIndex]
    buffers = [schema.BufferT()]  # the first is empty by convention
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        tensor.buffer = 0
        if data is not None and len(data):
            buffers.append(schema.BufferT(data))
            tensor.buffer = len(buffers) - 1
    model.buffers = buffers


def name_of(model: Any, op: Any) -> str:
    """The name of an operation in the schema."""
    code = model.operatorCodes[op.opcodeIndex]
    return NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _tensor(tensor: Any) -> Tensor:
    quantization = tensor.quantization
    scaled = quantization is not None and quantization.scale is not None and len(quantization.scale)
    return Tensor(
        tuple(tensor.shape),
        TYPES[tensor.type],
        float(quantization.scale[0]) if scaled else 0.0,
        int(quantization.zeroPoint[0]) if scaled else 0,
    )
