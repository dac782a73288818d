"""Recall, precision and F1 of each class, of student and teacher, and the balanced accuracy."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kd.metrics import classes
from kd.report import format
from kd.report.blocks import Block, Grid, Note
from kd.report.run import Run
from kd.report.sections.classes import folded

TITLE = "Recall, precision and F1"
ORDER = 31

APART = 0.01
"""From this difference on, a report says that balanced accuracy and accuracy differ."""


def measure(run: Run) -> dict[str, Any]:
    """`class_scores`, a row for each class with examples or predictions; `balanced_accuracy` of the
    students, and of the teacher in `teacher`; means over networks.
    """
    names = run.result["class_names"]
    networks = {"student": run.logits} | ({} if run.target is None else {"teacher": run.target})
    matrices = {
        name: classes.confusion(logits, run.label).reshape(-1, *[logits.shape[-1]] * 2)
        for name, logits in networks.items()
    }
    means = {
        name: {
            score: classes.mean_of_classes(values.T)  # over networks
            for score, values in classes.class_scores(matrix)._asdict().items()
        }
        for name, matrix in matrices.items()
    }
    count = matrices["student"][0].sum(-1)
    rows = [
        {
            "name": names[k] if names else str(k),
            "count": int(count[k]),
            **{name: {s: _plain(v[k]) for s, v in of.items()} for name, of in means.items()},
        }
        for k in range(len(count))
        if any(matrix[:, k].any() or matrix[:, :, k].any() for matrix in matrices.values())
    ]
    balanced = {
        name: _plain(np.mean(classes.balanced_accuracy(matrix)))
        for name, matrix in matrices.items()
    }
    content: dict[str, Any] = {"class_scores": rows, "balanced_accuracy": balanced["student"]}
    if "teacher" in balanced:
        content["teacher"] = {"balanced_accuracy": balanced["teacher"]}
    return content


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def conclude(content: dict[str, Any]) -> Iterator[str]:
    """Where the balanced accuracy differs from the accuracy, that it does."""
    balanced = content.get("balanced_accuracy")
    if balanced is None:
        return
    difference = balanced - content["accuracy"]
    if abs(difference) >= APART:
        side = "above" if difference > 0 else "below"
        yield (
            f"Its balanced accuracy, the mean of the classes' recalls, is {100 * balanced:z.2f} %, "
            f"{100 * abs(difference):z.2f} points {side} the accuracy."
        )


def show(content: dict[str, Any]) -> list[Block]:
    """A table of the classes in their order, and the balanced accuracies."""
    cell = lambda value: "-" if value is None else format.percent(value)
    scores = ("recall", "precision", "f1")
    grid: Grid = [format.cells("class|images|recall %|precision %|F1 %")]
    if "teacher" in content:
        grid[0] += format.cells("teacher: recall %|teacher: precision %|teacher: F1 %")
    for row in content["class_scores"]:
        networks = [row[name] for name in ("student", "teacher") if name in row]
        values = [cell(network[score]) for network in networks for score in scores]
        grid.append([row["name"], f"{row['count']:,}", *values])
    note = f"Balanced accuracy {cell(content['balanced_accuracy'])} %"
    if "teacher" in content:
        note += f", of the teacher {cell(content['teacher']['balanced_accuracy'])} %"
    note += ": the mean of the recalls, in which rare classes count as much as the others."
    if any("-" in row for row in grid[1:]):
        note += (
            " A dash: not defined, as the class has no test image, or no network ever predicts it."
        )
    return [*folded(grid), Note(note)]
