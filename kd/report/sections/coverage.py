"""Prediction sets of a guaranteed coverage, and abstention, of the student."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kd.metrics import conformal
from kd.report.blocks import Block, Note, Table
from kd.report.run import Run
from kd.runs import coverage

TITLE = "Prediction sets and abstention"
ORDER = 55


def measure(run: Run) -> dict[str, Any]:
    """`conformal`: the thresholds of each network and what they do on the evaluated images; None
    where the run kept no validation images.
    """
    if "validation_logits" not in run.arrays:
        return {"conformal": None}
    levels = conformal.parse_levels(conformal.DEFAULT)
    label = run.arrays["validation_label"]
    networks = [
        conformal.describe((held_out, label), (evaluated, run.label), levels)
        for held_out, evaluated in zip(run.arrays["validation_logits"], run.logits, strict=True)
    ]
    names = list(run.result.get("class_names") or ())
    seen = _seen_by(run)
    known = {"candidates": 1, "seen_by": seen, "class_names": names, "networks": networks}
    return {"conformal": known}


def show(content: dict[str, Any]) -> list[Block]:
    """The tables, as means over the networks, and what they are."""
    known = content.get("conformal")
    if known is None:
        text = f"{coverage.KEY} = 0.1 holds out a tenth of the training images to calibrate them."
        return [Note(f"None, because the run kept no validation images; {text}")]
    count = len(known["networks"])
    name = "student" if count == 1 else f"student, mean of {count}"
    networks = {name: mean(known["networks"])}
    return [
        Table(coverage.table(networks)),
        Table(coverage.thresholds(networks), fold="thresholds"),
        Table(coverage.by_class(networks, known["class_names"]), fold="by class"),
        Note(coverage.note(known, networks)),
    ]


def conclude(content: dict[str, Any]) -> Iterator[str]:
    """What the sets of the middle level hold."""
    known = content.get("conformal")
    if known is None:
        return
    levels = mean(known["networks"])["levels"]
    level = levels[len(levels) // 2]
    test = level["test"]
    yield (
        f"Sets that are to have the label for {100 * level['level']:zg} % of the images have it "
        f"for {100 * test['coverage']:z.2f} % and {test['size']:z.2f} classes on average; with "
        f"abstention it answers {100 * test['answered']:z.2f} % of the images and is wrong on "
        f"{100 * test['wrong']:z.2f} % of all."
    )


def mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, entry by entry of equal dicts and lists; None where one is None. Lists
    of different lengths are filled with zeros.
    """
    if any(value is None for value in values):
        return None
    if isinstance(values[0], dict):
        return {key: mean([value[key] for value in values]) for key in values[0]}
    if isinstance(values[0], list):
        longest = max(map(len, values))
        rows = [value + [0] * (longest - len(value)) for value in values]
        return [mean(column) for column in zip(*rows, strict=True)]
    total = float(np.mean(values))
    return int(total) if all(isinstance(v, int) for v in values) and total.is_integer() else total


def _seen_by(run: Run) -> dict[str, int | None]:
    """See `kd.runs.held_out.seen_by`; also of a run whose data are gone."""
    from kd.errors import InputError
    from kd.runs import held_out
    from kd.runs.networks import measured_data

    try:
        validation = measured_data(run.workdir).validation
    except InputError:
        validation = None
    return held_out.seen_by(run.workdir, validation)
