"""An ONNX model compared with its network, and an int8 one with the file that it came from."""

from typing import Any

import numpy as np

from kd.devices import processor
from kd.export import checks, graph, interpreter, tflite
from kd.export.checks import Comparison
from kd.export.onnx import runtime
from kd.export.source import Source, pixels


def compare(
    source: Source, model: bytes, content: bytes, dtype: np.dtype, count: int
) -> Comparison:
    """All checks of a model.

    Args:
      source: the student.
      model: the ONNX model.
      content: the LiteRT file that it came from.
      dtype: of the model's input.
      count: images for LiteRT's reference kernels, which are slow; all evaluated images go through
        ONNX Runtime.
    """
    session = runtime.Session(model)
    comparison = checks.compare_network(source, lambda image: session(image.astype(dtype)))
    compared = comparison.checks[source.result["split"]]
    compared["kernels"] = f"ONNX Runtime {runtime.version()}"
    golden = comparison.golden
    golden = golden._replace(input=golden.input.astype(dtype))
    if graph.ends(content)[1].dtype != "INT8":
        error = checks.relative(compared["error_max"], compared["largest_logit"])
        figures = {"float_error": error, **comparison.figures}
        return Comparison(comparison.checks, figures, golden)
    measured = _integers(source, model, content, dtype, count)
    figures = {**comparison.figures, "onnx_lsb": measured["lsb"]}
    return Comparison({**comparison.checks, "onnx": measured}, figures, golden)


def _integers(
    source: Source, model: bytes, content: bytes, dtype: np.dtype, count: int
) -> dict[str, Any]:
    """Distances from LiteRT's reference kernels in units of the output, with exact sums and with
    ONNX Runtime's defaults on this processor.
    """
    split, size = source.dataset.test, source.config["eval_batch_size"]
    image = pixels(split, checks.spread(len(split.label), count))
    outputs = interpreter.run(content, tflite.inputs(source, content, image))
    target, unit = tflite.as_logits(content, outputs), graph.ends(content)[1].scale
    measured: dict[str, Any] = {"images": len(image)}
    for prefix, precise in (("", True), ("default_", False)):
        session = runtime.Session(model, precise)
        logits = checks.in_batches(session, image.astype(dtype), size)
        distance = np.rint(np.abs(logits.astype(np.float64) - target) / unit)
        measured[f"{prefix}lsb"] = float(distance.max())
        measured[f"{prefix}equal"] = float((distance == 0).all(-1).mean())
    flags = processor.flags()
    measured["processor"] = processor.model()
    measured["vnni"] = bool(flags & {"avx512_vnni", "avx_vnni"}) if flags else None
    return measured
