"""What is inside a `.tflite` file, by its schema: read, told of, cleaned, and written again."""

from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kd.errors import InputError
from kd.export import layer_names

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
"""Version from which an operator takes int8. The quantizer leaves 1, which strict importers refuse.
"""


class Operation(NamedTuple):
    """One operation: its name in the schema, the layer of the network that it came from, and the
    types of its activations.
    """

    name: str
    layer: str
    types: tuple[str, ...]


class Tensor(NamedTuple):
    """Input or output: its shape, and how integers in it are to be read (`scale * (q - zero)`), 0
    where they are not.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero: int


def read(content: bytes) -> Any:
    """The file as the schema's objects, in which shapes and indices are lists of int."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    plain = lambda numbers: [int(n) for n in (() if numbers is None else numbers)]
    for buffer in model.buffers:
        if buffer.size:  # large constants lie behind the schema's part of the file
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
    found = [op for op in operations(content) if any("FLOAT" in t for t in op.types)]
    # What stands at the ends of such an operation is not what lacks its form.
    between = [op for op in found if op.name not in ("QUANTIZE", "DEQUANTIZE")]
    for op in between or found:
        raise InputError(
            f"{op.layer}: {op.name} has no int8 form, and would run in floating point. "
            "Use another layer there, or export without --int8."
        )


def finish(content: bytes) -> bytes:
    """The file without what costs flash and computes nothing, and with the operators' true
    versions.

    Tensor names hold the whole path of each JAX operation, a fifth of a small network.
    """
    model = read(content)
    graph = model.subgraphs[0]
    graph.name, model.description = None, None
    model.metadata, model.metadataBuffer = None, None
    _drop_unused(model, graph)
    for i, tensor in enumerate(graph.tensors):
        tensor.name = f"t{i}".encode()
    quantized = TYPES[graph.tensors[graph.outputs[0]].type] == "INT8"
    codes = []  # an operator with and one without bias have different versions
    for op in graph.operators:
        name, code = name_of(model, op), model.operatorCodes[op.opcodeIndex]
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
    model.operatorCodes = [code_of(*wanted) for wanted in codes]
    return write(model)


def code_of(builtin: int, version: int) -> Any:
    """What operations of a kind and version refer to."""
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
    at = {old: new for new, old in enumerate(used)} | {-1: -1}
    moved = lambda indices: [at[i] for i in indices]
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


def name_of(model: Any, op: Any) -> str:
    """The name of an operation in the schema."""
    code = model.operatorCodes[op.opcodeIndex]
    return NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _end(tensor: Any) -> Tensor:
    found = tensor.quantization
    scaled = found is not None and found.scale is not None and len(found.scale)
    return Tensor(
        tuple(tensor.shape),
        TYPES[tensor.type],
        float(found.scale[0]) if scaled else 0.0,
        int(found.zeroPoint[0]) if scaled else 0,
    )
