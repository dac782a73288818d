"""Every operation of an int8 file by itself on TFLM, fed LiteRT's integers.

The dense layers of TFLM differ from LiteRT's reference kernels by one unit. Functions such as
softmax and the sigmoid are steep where their inputs are coarse, and make several units of one. The
output of a transformer therefore says little about the kernels; each operation by itself does.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from kd.export import graph, interpreter, micro
from kd.export.tflite import TFLite

IMAGES = 8
"""Examples whose activations are compared."""

CURVED = ("LOGISTIC", "TANH", "SOFTMAX", "LOG_SOFTMAX", "RSQRT", "SQRT", "HARD_SWISH", "GELU")
"""Operations that make several units of one."""


class Layer(NamedTuple):
    """An operation's largest difference from LiteRT's reference kernels, in units of its output."""

    layer: str
    operation: str
    lsb: float


def needed(file: TFLite) -> bool:
    """Whether the file has operations for which only a comparison of each says something."""
    return any(op.name in CURVED for op in graph.operations(file.content))


def compare(file: TFLite, inputs: Shaped[np.ndarray, "n ..."]) -> list[Layer]:
    """The differences of each operation, on LiteRT's integers for these inputs."""
    described = graph.operations(file.named)
    tensors = graph.read(file.content).subgraphs[0].tensors
    names = graph.activations(file.content)
    examples = [
        dict(zip(names, values, strict=True))
        for values in interpreter.tensors(file.content, inputs, names)
    ]
    layers = []
    for i, operation in enumerate(described):
        content, sources, target = _alone(file.content, i)
        fed = [tensors[j].name.decode() for j in sources]
        expected = tensors[target].name.decode()
        outputs = micro.outputs_of(content, [[values[name] for name in fed] for values in examples])
        pairs = zip(outputs, (values[expected] for values in examples), strict=True)
        distance = max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in pairs)
        layers.append(Layer(operation.layer, operation.name, distance))
    return layers


def _alone(content: bytes, index: int) -> tuple[bytes, list[int], int]:
    """The file of one operation, and its inputs and output among the tensors of the network."""
    model = graph.read(content)
    network = model.subgraphs[0]
    op = network.operators[index]
    written = {i for other in network.operators for i in other.outputs} | set(network.inputs)
    sources = [i for i in dict.fromkeys(op.inputs) if i in written]
    target = op.outputs[0]
    network.operators, network.inputs, network.outputs = [op], list(sources), [target]
    model.signatureDefs = []
    return graph.finish(graph.write(model)), sources, target
