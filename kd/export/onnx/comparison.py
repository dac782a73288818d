"""An ONNX model compared with its network, and an int8 one with the file that it came from."""

from typing import Any

import numpy as np

from kd.devices import processor
from kd.export import checks, graph, interpreter, tflite
from kd.export.checks import Comparison
from kd.export.onnx import layer_comparison, runtime
from kd.export.onnx.translation import Translation
from kd.export.source import Source, pixels
from kd.metrics import scores


def compare(
    source: Source,
    translation: Translation,
    file: tflite.TFLite,
    dtype: np.dtype,
    count: int,
) -> Comparison:
    """All checks of a model.

    Args:
      source: the student.
      translation: the ONNX model.
      file: the LiteRT file that it came from.
      dtype: of the model's input.
      count: images for LiteRT's reference kernels, which are slow; all evaluated images go through
        ONNX Runtime.
    """
    session = runtime.Session(translation.content)
    comparison = checks.compare_network(source, lambda image: session(image.astype(dtype)))
    compared = comparison.checks[source.result["split"]]
    compared["kernels"] = f"ONNX Runtime {runtime.version()}"
    golden = comparison.golden
    golden = golden._replace(input=golden.input.astype(dtype))
    if graph.ends(file.content)[1].dtype != "INT8":
        error = checks.relative(compared["error_max"], compared["largest_logit"])
        figures = {"float_error": error, **comparison.figures}
        return Comparison(comparison.checks, figures, golden)
    split = source.dataset.test
    image = pixels(split, checks.spread(len(split.label), count))
    measured = _network(source, translation.content, file.content, image, dtype)
    some = image[checks.spread(len(image), layer_comparison.IMAGES)]
    inputs = tflite.inputs(source, file.content, some)
    layers = layer_comparison.compare(translation, file, inputs, some.astype(dtype))
    measured["layer_images"] = len(some)
    measured["layers"] = [layer._asdict() for layer in layers]
    figures = {
        **comparison.figures,
        "onnx_constants": float(layer_comparison.missing(translation, file)),
        "onnx_lsb": max(layer.lsb for layer in layers),
        "onnx_rounding": max(layer.beyond_rounding for layer in layers),
        "onnx_agreement": measured["agreement"],
    }
    notes = {
        "onnx_lsb": _where(max(layers, key=lambda layer: layer.lsb)),
        "onnx_rounding": _where(max(layers, key=lambda layer: layer.beyond_rounding)),
    }
    return Comparison({**comparison.checks, "onnx": measured}, figures, golden, notes=notes)


def _where(layer: layer_comparison.Layer) -> str:
    return f"{layer.operation} of {layer.layer}"


def _network(
    source: Source, model: bytes, content: bytes, image: np.ndarray, dtype: np.dtype
) -> dict[str, Any]:
    """Differences from LiteRT's reference kernels at the end of the network, in units of the
    output, with exact sums and with ONNX Runtime's defaults on this processor.
    """
    outputs = interpreter.run(content, tflite.inputs(source, content, image))
    target, unit = tflite.as_logits(content, outputs), graph.ends(content)[1].scale
    measured: dict[str, Any] = {"images": len(image)}
    for prefix, precise in (("", True), ("default_", False)):
        session = runtime.Session(model, precise)
        logits = checks.in_batches(session, image.astype(dtype), source.config["eval_batch_size"])
        distance = np.rint(np.abs(logits.astype(np.float64) - target) / unit)
        measured[f"{prefix}lsb"] = float(distance.max())
        measured[f"{prefix}equal"] = float((distance == 0).all(-1).mean())
        measured[f"{prefix}agreement"] = float(scores.agreement(logits[None], target)[0])
    flags = processor.flags()
    measured["processor"] = processor.model()
    measured["vnni"] = bool(flags & {"avx512_vnni", "avx_vnni"}) if flags else None
    return measured
