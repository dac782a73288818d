"""An export measured against the network that it came from, and against the runtimes of devices."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from kd.export import interpreter, litert, micro
from kd.export.source import Source, logits, pixels, recorded
from kd.metrics import scores

GOLDEN = 16
"""Vectors that are written out for others to check against."""


class Golden(NamedTuple):
    """Examples as they are stored, as the file takes them, what the file makes of them, and what
    the network says.
    """

    image: Shaped[np.ndarray, "n ..."]
    input: Shaped[np.ndarray, "n ..."]
    output: Shaped[np.ndarray, "n c"]
    logits: Float[np.ndarray, "n c"]
    label: Int[np.ndarray, " n"]


class Findings(NamedTuple):
    """What was measured (for the report), the figures that have gates, and golden vectors."""

    report: dict[str, Any]
    figures: dict[str, float]
    golden: Golden


def compare(
    found: Float[np.ndarray, "n c"], target: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"]
) -> dict[str, Any]:
    """Logits of an export beside those of the network."""
    difference = np.abs(found.astype(np.float64) - target)
    share = scores.accuracy(np.stack([found, target]), label)
    return {
        "images": len(label),
        "accuracy": float(share[0]),
        "float_accuracy": float(share[1]),
        "agreement": float(scores.agreement(found[None], target)[0]),
        "error_max": float(difference.max()),
        "error_mean": float(difference.mean()),
        "largest_logit": float(np.abs(target).max()),
    }


def lost(
    source: Source, target: Float[np.ndarray, "n c"], compared: dict[str, Any]
) -> dict[str, float]:
    """The figures that every export has.

    Args:
      source: the student.
      target: logits that its network gives here, of all evaluated images.
      compared: what `compare` found of the export beside them.
    """
    figures = {
        "accuracy_drop": compared["float_accuracy"] - compared["accuracy"],
        "agreement": compared["agreement"],
    }
    then = recorded(source)
    if then is not None:
        figures["recorded"] = float(scores.agreement(then[None], target)[0])
    return figures


def relative(error: float, largest: float) -> float:
    """An error in units of the largest logit, which is what floating point can be held to."""
    return error / max(1.0, largest)


def spread(n: int, count: int) -> np.ndarray:
    """`count` places out of n, evenly: a split may be sorted by class."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int))


def measure(source: Source, content: bytes, count: int) -> Findings:
    """All that is checked of a LiteRT file.

    Args:
      source: the student.
      content: the file.
      count: images for the reference kernels and for TFLM, which are slow; the whole split goes
        through optimized kernels.
    """
    split = source.dataset.test
    everything = pixels(split, np.arange(len(split.label)))
    target = logits(source, everything)
    given = litert.inputs(source, content, everything)
    as_logits = lambda outputs: litert.as_logits(content, outputs)
    optimized = interpreter.run(content, given, interpreter.OPTIMIZED)
    whole = compare(as_logits(optimized), target, split.label)

    few = spread(len(split.label), count)
    reference = interpreter.run(content, given[few], interpreter.REFERENCE)
    tflm, arena = micro.run(content, given[few])
    apart = lambda a, b: float(np.abs(a.astype(np.float64) - b).max())
    units = "lsb" if reference.dtype == np.int8 else "error"
    report = {
        source.result["split"]: whole | {"kernels": "LiteRT, optimized"},
        "reference": compare(as_logits(reference), target[few], split.label[few])
        | {"kernels": "LiteRT, reference", f"optimized_{units}": apart(optimized[few], reference)},
        "tflm": {
            "images": len(few),
            units: apart(tflm, reference),
            "arena_bytes": arena.total,
            "arena_head_bytes": arena.head,
            "arena_tail_bytes": arena.tail,
        },
    }
    if source.dataset.validation is not None and source.result["split"] == "test":
        report["validation"] = _validation(source, content)
    if units == "lsb":
        figures = {**lost(source, target, whole), "tflm_lsb": report["tflm"]["lsb"]}
    else:
        largest = whole["largest_logit"]
        figures = {
            "float_error": relative(whole["error_max"], largest),
            **lost(source, target, whole),
            "tflm_error": relative(report["tflm"]["error"], largest),
        }
    chosen = few[spread(len(few), GOLDEN)]
    golden = Golden(
        everything[chosen],
        given[chosen],
        reference[spread(len(few), GOLDEN)],
        target[chosen],
        split.label[chosen],
    )
    return Findings(report, figures, golden)


def _validation(source: Source, content: bytes) -> dict[str, Any]:
    """The same on the images that the run kept, which may choose among students, as the test set
    may not.
    """
    split = source.dataset.validation
    assert split is not None
    image = pixels(split, np.arange(len(split.label)))
    given = litert.inputs(source, content, image)
    outputs = interpreter.run(content, given, interpreter.OPTIMIZED)
    return compare(litert.as_logits(content, outputs), logits(source, image), split.label)
