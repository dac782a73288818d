"""Comparison of an export's logits with those of the network that it came from."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from kd.export.source import Source, logits, pixels, recorded
from kd.metrics import scores

GOLDEN = 16
"""Number of golden vectors: examples that are written out for others to check against."""

type Predict = Callable[[np.ndarray], Any]
"""Logits [b, c] of a batch of raw examples [b, ...]."""


class Golden(NamedTuple):
    """Golden vectors: raw examples, the export's inputs and outputs for them, the network's logits
    and the labels.
    """

    image: Shaped[np.ndarray, "n ..."]
    input: Shaped[np.ndarray, "n ..."]
    output: Shaped[np.ndarray, "n c"]
    logits: Float[np.ndarray, "n c"]
    label: Int[np.ndarray, " n"]


class Comparison(NamedTuple):
    """Measurements of an export: `checks` of `report.json`, figures for gates, golden vectors.

    `outputs` are indices of test images and what the reference kernels make of them; `notes` say
    where a figure was measured, by its name.
    """

    checks: dict[str, Any]
    figures: dict[str, float]
    golden: Golden
    outputs: tuple[np.ndarray, np.ndarray] | None = None
    notes: Mapping[str, str] = {}


class Written(NamedTuple):
    """What the `write` of a format returns.

    Attributes:
      report: entries of `report.json`: `input` and `output` (`shape`, `dtype`; of the input also
        `meaning`), `operations`, `flash_bytes`, `calibration`, `checks`, and any of the format.
      figures: measurements by the names of their gates.
      golden: vectors that others can check an implementation against.
      int8: whether the arithmetic is int8.
      notes: where a figure was measured, by its name: for the message if its gate fails.
    """

    report: dict[str, Any]
    figures: dict[str, float]
    golden: Golden
    int8: bool = False
    notes: Mapping[str, str] = {}


def compare(
    exported: Float[np.ndarray, "n c"],
    target: Float[np.ndarray, "n c"],
    label: Int[np.ndarray, " n"],
) -> dict[str, Any]:
    """Measurements of an export's logits against the network's, `target`."""
    difference = np.abs(exported.astype(np.float64) - target)
    accuracy = scores.accuracy(np.stack([exported, target]), label)
    return {
        "images": len(label),
        "accuracy": float(accuracy[0]),
        "float_accuracy": float(accuracy[1]),
        "agreement": float(scores.agreement(exported[None], target)[0]),
        "error_max": float(difference.max()),
        "error_mean": float(difference.mean()),
        "largest_logit": float(np.abs(target).max()),
    }


def compare_network(
    source: Source, predict: Predict, reference: Predict | None = None
) -> Comparison:
    """Compares an export with its network on all evaluated images.

    Args:
      source: the student.
      predict: the export as a function of a batch.
      reference: the network as a function of the same batches; default: `source.logits`.
    """
    split, size = source.dataset.test, source.config["eval_batch_size"]
    reference = reference or (lambda batch: logits(source, batch))
    image = pixels(split, np.arange(len(split.label)))
    target = in_batches(reference, image, size)
    compared = compare(in_batches(predict, image, size), target, split.label)
    few = spread(len(split.label), GOLDEN)
    # One batch of these alone, as a reader of the vectors will call it: the last bits of a logit
    # depend on the size of its batch.
    shown = image[few]
    golden = Golden(
        shown,
        shown,
        in_batches(predict, shown, len(few)),
        in_batches(reference, shown, len(few)),
        split.label[few],
    )
    figures = figures_of(source, target, compared)
    return Comparison({source.result["split"]: compared}, figures, golden)


def in_batches(predict: Predict, image: np.ndarray, size: int) -> np.ndarray:
    """Logits of all examples on the CPU, `size` at a time."""
    with jax.default_device(jax.devices("cpu")[0]):
        starts = range(0, len(image), size)
        return np.concatenate([np.asarray(predict(image[i : i + size])) for i in starts])


def figures_of(
    source: Source, target: Float[np.ndarray, "n c"], compared: dict[str, Any]
) -> dict[str, float]:
    """The figures with gates that every export has.

    Args:
      source: the student.
      target: the network's logits of all evaluated images, computed now.
      compared: `compare` of the export with them.
    """
    figures = {
        "accuracy_drop": compared["float_accuracy"] - compared["accuracy"],
        "agreement": compared["agreement"],
    }
    stored = recorded(source)
    if stored is not None:
        figures["recorded"] = float(scores.agreement(stored[None], target)[0])
    return figures


def relative(error: float, largest: float) -> float:
    """An error in units of the largest logit, which bounds what floating point can achieve."""
    return error / max(1.0, largest)


def spread(n: int, count: int) -> np.ndarray:
    """At most `count` indices below n, evenly spread: a split may be sorted by class."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int))
