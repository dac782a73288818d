"""Calibration of student and teacher."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kd.report import calibration, format
from kd.report.blocks import Block, Figure, Grid, Note, Table
from kd.report.figures import STUDENT, TEACHER, canvas, legend_below
from kd.report.run import Run

TITLE = "Calibration"
ORDER = 50

TOLERANCE = 5.0
"""Largest difference of mean confidence and accuracy, in points, of a network that is called
neither over- nor underconfident.
"""


def measure(run: Run) -> dict[str, Any]:
    """`calibration`, also of the teacher.

    Temperatures are fitted on the validation images alone, one for each seed.
    """
    logits, label = run.logits.astype(np.float64), run.label
    content: dict[str, Any] = {**_figures(logits, label), "temperature": None}
    if "validation_logits" in run.arrays:
        held_out = run.arrays["validation_logits"].astype(np.float64)
        labels = run.arrays["validation_label"]
        fitted = [calibration.temperature(of_seed, labels) for of_seed in held_out]
        content["temperature"] = fitted
        content["scaled"] = _figures(logits / np.array(fitted)[:, None, None], label)
    if run.target is None:
        return {"calibration": content}
    target = run.target if run.target.ndim == 3 else run.target[None]
    return {"calibration": content, "teacher": {"calibration": _figures(target, label)}}


def _figures(logits: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    return {
        **calibration.figures(logits, label),
        "reliability": calibration.diagram(logits, label),
    }


def show(content: dict[str, Any]) -> list[Block]:
    """A table of errors and the reliability diagrams."""
    student = content["calibration"]
    row = lambda name, c: [
        name,
        format.percent(c["ece"]),
        f"{c['nll']:z.4f}",
        f"{c['brier']:z.4f}",
        format.points(c["excess"]),
    ]
    grid: Grid = [["", "ECE %", "NLL, nats", "Brier", "confidence minus accuracy"]]
    if "teacher" in content:
        grid.append(row("teacher", content["teacher"]["calibration"]))
    grid.append(row("student as trained", student))
    if student["temperature"]:
        grid.append(row(f"student at temperature {_mean(student):z.3f}", student["scaled"]))
        note = (
            "The temperature is fitted for each seed on held-out training images, which are used "
            "neither to train nor to evaluate it."
        )
    else:
        note = (
            "No temperature was fitted, because the run held out no training images; "
            "config.validation = 0.1 holds out a tenth."
        )
    note += (
        " Predictions are put into 15 bins by their confidence, each of equal width; a dot is the "
        "accuracy in a bin. Below the dashed diagonal the network is overconfident."
    )
    return [Table(grid), Figure(draw(content), "reliability diagrams"), Note(note)]


def draw(content: dict[str, Any]) -> str:
    """Accuracy against confidence in bins, with the fraction of predictions in each bin as bars."""
    student = content["calibration"]
    panels = [("student as trained", student, STUDENT)]
    if student["temperature"]:
        panels.append(("student, scaled", student["scaled"], STUDENT))
    if "teacher" in content:
        panels.append(("teacher", content["teacher"]["calibration"], TEACHER))
    with canvas(len(panels), 3.5, 2.8 * len(panels)) as drawing:
        for axis, (title, measured, color) in zip(drawing.axes, panels, strict=True):
            bins = measured["reliability"]
            count = np.array(bins["count"])
            points = [
                (c, a)
                for c, a in zip(bins["confidence"], bins["accuracy"], strict=True)
                if c is not None
            ]
            width = 1 / len(count)
            middle = (np.arange(len(count)) + 0.5) * width
            axis.bar(
                middle,
                count / count.sum(),
                0.86 * width,
                color="#d9e2ec",
                label="fraction of predictions",
            )
            axis.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
            axis.plot(
                *zip(*points, strict=True), color=color, marker="o", markersize=4, label="accuracy"
            )
            axis.set(title=title, xlabel="confidence", xlim=(0, 1), ylim=(0, 1.02))
            axis.set_aspect("equal")
            legend_below(axis, 1)
    return drawing.svg


def conclude(content: dict[str, Any]) -> Iterator[str]:
    """Over- or underconfidence of the student, and what a temperature changes."""
    student = content["calibration"]
    excess = 100 * student["excess"]
    how = "about as confident as accurate"
    if abs(excess) > TOLERANCE:
        how = "overconfident" if excess > 0 else "underconfident"
    text = (
        f"It is {how}: its mean confidence minus accuracy is {excess:+z.1f} points, "
        f"ECE {100 * student['ece']:z.2f} %."
    )
    if student["temperature"] is None:
        text += " No held-out data (config.validation = 0), so no temperature was fitted."
    else:
        text += (
            f" A temperature of {_mean(student):z.2f}, fitted on held-out images, makes the ECE "
            f"{100 * student['scaled']['ece']:z.2f} %."
        )
    yield text


def _mean(student: dict[str, Any]) -> float:
    return sum(student["temperature"]) / len(student["temperature"])
