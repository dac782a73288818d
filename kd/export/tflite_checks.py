"""A LiteRT file compared with its network, on LiteRT's kernels and on those of TFLM."""

from typing import Any

import numpy as np

from kd.export import interpreter, micro, micro_layers, tflite
from kd.export.checks import GOLDEN, Comparison, Golden, figures_of, relative, spread
from kd.export.checks import compare as compare_logits
from kd.export.source import Source, logits, pixels
from kd.export.tflite import TFLite


def compare(source: Source, file: TFLite, count: int) -> Comparison:
    """All checks of a LiteRT file.

    Args:
      source: the student.
      file: that is compared with it.
      count: images for the reference kernels and for TFLM, which are slow; the complete split goes
        through optimized kernels.
    """
    split, content = source.dataset.test, file.content
    image = pixels(split, np.arange(len(split.label)))
    target = logits(source, image)
    inputs = tflite.inputs(source, content, image)
    as_logits = lambda outputs: tflite.as_logits(content, outputs)
    optimized = interpreter.run(content, inputs, interpreter.OPTIMIZED)
    compared = compare_logits(as_logits(optimized), target, split.label)

    few = spread(len(split.label), count)
    reference = interpreter.run(content, inputs[few], interpreter.REFERENCE)
    tflm, arena = micro.run(content, inputs[few], file.named)
    distance = lambda a, b: float(np.abs(a.astype(np.float64) - b).max())
    units = "lsb" if reference.dtype == np.int8 else "error"
    checks = {
        source.result["split"]: compared | {"kernels": "LiteRT, optimized"},
        "reference": compare_logits(as_logits(reference), target[few], split.label[few])
        | {
            "kernels": "LiteRT, reference",
            f"optimized_{units}": distance(optimized[few], reference),
        },
        "tflm": {
            "images": len(few),
            units: distance(tflm, reference),
            "arena_bytes": arena.total,
            "arena_head_bytes": arena.head,
            "arena_tail_bytes": arena.tail,
        },
    }
    if source.dataset.validation is not None and source.result["split"] == "test":
        checks["validation"] = _validation(source, content)
    common = figures_of(source, target, compared)
    if units == "lsb":
        figures = {**common, "tflm_lsb": checks["tflm"]["lsb"]}
        if micro_layers.needed(file):
            checks["tflm"] |= _by_layers(file, inputs[few])
            same = float((tflm.argmax(-1) == reference.argmax(-1)).mean())
            checks["tflm"]["agreement"] = same
            figures |= {"tflm_lsb": checks["tflm"]["layers_lsb"], "tflm_agreement": same}
    else:
        largest = compared["largest_logit"]
        figures = {
            "float_error": relative(compared["error_max"], largest),
            **common,
            "tflm_error": relative(checks["tflm"]["error"], largest),
        }
    of_few = spread(len(few), GOLDEN)
    shown = few[of_few]
    golden = Golden(
        image[shown], inputs[shown], reference[of_few], target[shown], split.label[shown]
    )
    return Comparison(checks, figures, golden, (few, reference))


def _by_layers(file: TFLite, inputs: np.ndarray) -> dict[str, Any]:
    """The largest difference of an operation by itself on TFLM, and which it is."""
    layers = micro_layers.compare(file, inputs[: micro_layers.IMAGES])
    worst = max(layers, key=lambda layer: layer.lsb)
    return {
        "layers": len(layers),
        "layers_images": min(len(inputs), micro_layers.IMAGES),
        "layers_lsb": worst.lsb,
        "largest_in": f"{worst.operation} in {worst.layer}",
    }


def _validation(source: Source, content: bytes) -> dict[str, Any]:
    """`compare_logits` on the run's validation images, which may choose among students; the test
    set may not.
    """
    split = source.dataset.validation
    assert split is not None
    image = pixels(split, np.arange(len(split.label)))
    inputs = tflite.inputs(source, content, image)
    outputs = interpreter.run(content, inputs, interpreter.OPTIMIZED)
    return compare_logits(tflite.as_logits(content, outputs), logits(source, image), split.label)
