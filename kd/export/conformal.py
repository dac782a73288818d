"""Prediction sets and abstention of an export: thresholds of the student and of its int8 file."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from kd.data.base import Split
from kd.errors import InputError
from kd.export.checks import spread
from kd.export.source import Source, logits, pixels, recorded
from kd.metrics import conformal
from kd.runs import held_out

PRODUCTS = 2e11
"""Multiply-accumulates that the slow checks may take: larger networks are calibrated on fewer
images.
"""

FEWEST = 100
"""But never on fewer than these, where there are so many."""


def levels(source: Source, asked: str | None) -> list[Fraction]:
    """The levels of an export; none where the run kept no validation images and nothing was asked.

    Raises:
      InputError: `asked` is not valid, or the run kept no validation images.
    """
    chosen = conformal.parse_levels(asked or conformal.DEFAULT)
    if source.dataset.validation is not None:
        return chosen
    if asked:
        raise InputError(
            f"--coverage {asked}: {source.workdir} kept no validation images, which coverage is "
            "calibrated on. Train it with config.validation, such as 0.1."
        )
    return []


def of_images(source: Source) -> dict[str, Any]:
    """What is known of the validation images: `candidates`, from how many networks this one was
    chosen on them; `seen_by`, from `kd.runs.held_out.seen_by`; the names of the classes.
    """
    seen = held_out.seen_by(source.workdir, _validation(source))
    names = list(source.result.get("class_names") or ())
    return {"candidates": source.candidates, "seen_by": seen, "class_names": names}


def of_student(source: Source, chosen: Sequence[Fraction]) -> dict[str, Any]:
    """The thresholds of the student itself, in units of its logits, from all images."""
    validation, test = _validation(source), source.dataset.test
    known = (
        ("validation_logits", validation, "validation_label"),
        ("logits", test, "label"),
    )
    predicted = []
    for key, split, label in known:
        stored = recorded(source, key)
        if stored is None:
            stored = logits(source, pixels(split, np.arange(len(split.label))))
        elif not np.array_equal(source.workdir.predictions()[label], split.label):
            raise InputError(
                f"{source.workdir} predicted other {key.partition('_')[0]} images than its data "
                "set has on this machine now. Restore the data, or train again."
            )
        predicted.append((stored, split.label))
    return conformal.describe(predicted[0], predicted[1], chosen, source.candidates)


def of_file(
    source: Source,
    chosen: Sequence[Fraction],
    content: bytes,
    count: int,
    run: Callable[[np.ndarray], np.ndarray],
    outputs: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """The thresholds of an int8 file, in units of its integer outputs.

    Args:
      source: the student.
      chosen: the levels.
      content: the file.
      count: at most so many validation images, and test images, evenly spread.
      run: integer outputs [n, c] of the file's inputs.
      outputs: indices of test images and their outputs, where these are known.
    """
    from kd.export import graph, tflite  # which import packages of an extra

    validation, test = _validation(source), source.dataset.test
    few = spread(len(validation.label), _affordable(source, count))
    calibration = run(tflite.inputs(source, content, pixels(validation, few)))
    if outputs is None:
        index = spread(len(test.label), _affordable(source, count))
        outputs = index, run(tflite.inputs(source, content, pixels(test, index)))
    index, measured = outputs
    described = conformal.describe(
        (calibration, validation.label[few]),
        (measured, test.label[index]),
        chosen,
        source.candidates,
    )
    return described | {"scale": graph.ends(content)[1].scale}


def of_reference(
    source: Source,
    settings: Mapping[str, Any],
    content: bytes,
    outputs: tuple[np.ndarray, np.ndarray] | None,
) -> dict[str, Any]:
    """Entries of `report.json` for an int8 file on LiteRT's reference kernels; see `of_file`."""
    if not settings.get("coverage"):
        return {}
    from kd.export import interpreter

    run = lambda inputs: interpreter.run(content, inputs)
    entry = of_file(source, settings["coverage"], content, settings["images"], run, outputs)
    return {"conformal": {"file": entry | {"kernels": "LiteRT, reference"}}}


def _affordable(source: Source, count: int) -> int:
    costs = source.result if source.peer is None else source.result["peers"][source.peer]
    return min(count, max(FEWEST, int(PRODUCTS // max(costs["macs"], 1))))


def _validation(source: Source) -> Split:
    assert source.dataset.validation is not None
    return source.dataset.validation
