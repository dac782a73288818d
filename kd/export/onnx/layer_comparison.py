"""Every layer of an int8 model, fed LiteRT's integers, compared with what LiteRT makes of them.

Differences of a deep network grow from layer to layer, so that they say little about the file. A
layer by itself has an exact standard: LiteRT's integer is the layer's real result, rounded. How
LiteRT rounds is known, and so is how far that can take it from the real result.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from kd.export import graph, interpreter, tflite
from kd.export.onnx import model, runtime
from kd.export.onnx.model import INPUT, OUTPUT
from kd.export.onnx.operation import TYPES
from kd.export.onnx.translation import Translation

IMAGES = 32
"""Examples whose activations are compared."""

PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "MUL", "MEAN")
"""Operations whose sums LiteRT scales by one factor, from the scales of inputs and output."""

ONCE = (
    *("ADD", "SUB", "AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD", "PADV2", "CONCATENATION"),
    *("RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "BROADCAST_TO", "RELU", "RELU6"),
)
"""Operations that LiteRT rounds once, or not at all."""


class Layer(NamedTuple):
    """A layer's differences, in units of its output.

    Attributes:
      layer: of the network.
      operation: of LiteRT's schema.
      lsb: largest difference between the integers of LiteRT and of ONNX Runtime, with exact sums.
      equal: share of these integers that are equal.
      beyond_rounding: largest distance of LiteRT's integers from the layer's real results, above
        that which LiteRT's way of rounding explains; 0 for none.
    """

    layer: str
    operation: str
    lsb: float
    equal: float
    beyond_rounding: float


def compare(
    translation: Translation,
    file: tflite.TFLite,
    inputs: Shaped[np.ndarray, "n ..."],
    image: Shaped[np.ndarray, "n ..."],
) -> list[Layer]:
    """The differences of each layer, and of the logits from the last integers.

    Args:
      translation: the model.
      file: the LiteRT file that it came from.
      inputs: examples, as the LiteRT file takes them.
      image: the same, as the model takes them.
    """
    network = graph.read(file.content)
    tensors = network.subgraphs[0].tensors
    values = {i: v for i, v in translation.values.items() if v.grid is not None}
    names = [tensors[i].name.decode() for i in values]
    columns = zip(*interpreter.tensors(file.content, inputs, names), strict=True)
    targets = dict(zip(values, map(np.concatenate, columns), strict=True))
    arranged = {
        value.name: np.moveaxis(targets[i], -1, 1) if value.channels_first else targets[i]
        for i, value in reversed(values.items())
    }
    integers, real = (_outputs(translation.content, arranged, image, r) for r in (True, False))
    results = []
    operations = zip(network.subgraphs[0].operators, graph.operations(file.named), strict=True)
    for op, described in operations:
        value = values.get(op.outputs[0])
        if value is None or value.name not in integers:
            continue
        target = arranged[value.name].astype(np.float64)
        distance = np.abs(integers[value.name] - target)
        allowed = _rounding(network, op)
        if value.channels_first and allowed.ndim:
            allowed = allowed.reshape((-1, 1, 1))
        beyond = float(np.max(np.abs(real[value.name] - target) - allowed, initial=0))
        equal = float((distance == 0).mean())
        name = graph.name_of(network, op)
        results.append(Layer(described.layer, name, float(distance.max()), equal, beyond))
    logits = tflite.as_logits(file.content, targets[network.subgraphs[0].outputs[0]])
    error = float(np.abs(real[OUTPUT] - logits).max()) / graph.ends(file.content)[1].scale
    return [*results, Layer(OUTPUT, "DEQUANTIZE", float(np.rint(error)), 1.0, error)]


def _outputs(
    content: bytes, arranged: dict[str, np.ndarray], image: np.ndarray, rounded: bool
) -> dict[str, np.ndarray]:
    """What each operation makes of LiteRT's integers, by the activation that it writes: integers,
    or real numbers in their units.
    """
    cut = model.cut(content, {name: array.shape for name, array in arranged.items()}, rounded)
    feeds = {model.fed(name): array for name, array in arranged.items()} | {INPUT: image}
    outputs = runtime.Session(cut.content).outputs(list(dict.fromkeys(cut.outputs.values())), feeds)
    results = {name: outputs[end] for name, end in cut.outputs.items()}
    for name, grid in cut.grids.items():
        exact = results[name] / np.float64(grid.scale) + float(grid.zero)
        results[name] = np.clip(exact, -128, 127)
    return results


def missing(translation: Translation, file: tflite.TFLite) -> int:
    """How many int8 weights, int32 biases and vectors of their scales of the LiteRT file the model
    does not have, bit for bit, in any order of axes.
    """
    network = graph.read(file.content)
    wanted: list[np.ndarray] = []
    for tensor in network.subgraphs[0].tensors:
        data, quantization = network.buffers[tensor.buffer].data, tensor.quantization
        kind = TYPES.get(graph.TYPES[tensor.type])
        scaled = quantization is not None and quantization.scale is not None
        if kind is None or data is None or not len(data) or not scaled:
            continue
        wanted.append(np.frombuffer(np.asarray(data, np.uint8).tobytes(), kind))
        if len(quantization.scale) > 1:
            wanted.append(np.asarray(quantization.scale, np.float32))
    return (_contents(wanted) - _contents(model.constants(translation.content))).total()


def _contents(arrays: Sequence[np.ndarray]) -> Counter[tuple[str, bytes]]:
    return Counter((str(a.dtype), np.sort(a, axis=None).tobytes()) for a in arrays)


def _rounding(network: Any, op: Any) -> np.ndarray:
    """How far LiteRT's integers may be from an operation's real results, in units of the output:
    one number, or one for each channel.

    Half a unit is rounding itself. LiteRT multiplies a sum by a factor m * 2^k, with m in [1/2, 1)
    of 31 bits: it rounds the product with m to an integer, and for k < 0 rounds that again when it
    divides by 2^-k. The first can add 2^(k-1) units to the second. Functions that are neither
    products nor rounded once are allowed one unit.
    """
    name, tensors = graph.name_of(network, op), network.subgraphs[0].tensors
    if name in ONCE:
        return np.array(0.5)
    if name not in PRODUCTS:
        return np.array(1.0)
    scale = lambda i: np.asarray(tensors[i].quantization.scale, np.float64)
    x, w, y = *op.inputs[:2], op.outputs[0]
    if name == "MEAN":  # m is divided by the number of elements, and k reduced by its bits
        count = math.prod(tensors[x].shape) // math.prod(tensors[y].shape)
        k = np.frexp(scale(x) / scale(y))[1] - (count.bit_length() - 1)
    else:
        k = np.frexp(scale(x) * scale(w) / scale(y))[1]
    twice = np.where(k < 0, 2.0 ** (k - 1), 0)
    return np.asarray(np.squeeze(0.5 + twice))  # shape () for one scale
