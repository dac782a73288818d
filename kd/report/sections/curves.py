"""Learning curves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kd.report.blocks import Block, Figure, Note
from kd.report.figures import OTHER, STUDENT, TEACHER, canvas, legend_below
from kd.report.run import Run
from kd.runs.record import read_rows

TITLE = "Learning curves"
ORDER = 100


def measure(run: Run) -> dict[str, Any]:
    """`curves`: `evaluated`, metrics of each evaluation, and `train`, the mean over the updates of
    each epoch. Values are lists over seeds. An epoch in which no image had a label has no accuracy.
    """
    rows = read_rows(run.workdir)
    evaluated = [row for row in rows if row["kind"] != "train"]
    keys = ("epoch", "accuracy", "nll")
    epochs: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "train":
            epochs.setdefault(row["epoch"], []).append(row)
    train = []
    for epoch, calls in sorted(epochs.items()):
        means = {key: _mean(calls, key) for key in ("accuracy", "loss")}
        train.append({"epoch": epoch, **{key: mean for key, mean in means.items() if mean}})
    curves: dict[str, Any] = {
        "evaluated": [{k: row[k] for k in keys if k in row} for row in evaluated],
        "train": train,
    }
    return {"curves": curves | ({"mixed": True} if run.config.get("mix") else {})}


def _mean(calls: list[dict[str, Any]], key: str) -> list[float]:
    """The mean over updates for each seed; empty where no row has the metric."""
    rows = [row for row in calls if key in row]
    if not rows:
        return []
    weights = [row["updates"] for row in rows]
    return np.average([row[key] for row in rows], axis=0, weights=weights).tolist()


def show(content: dict[str, Any]) -> list[Block]:
    """The drawing; nothing where the run has no rows."""
    if not content["curves"]["evaluated"] and not content["curves"]["train"]:
        return []
    seeds = len(content["seeds"])
    text = (
        "Training: of the batches, as they were learned from (augmented, with dropout, and before "
        "each update). The training loss is what was minimised, so that its height says nothing "
        "beside the NLL, the negative log-likelihood of the right class."
    )
    if content["curves"].get("mixed"):
        text += (
            " Training images are mixed: their accuracy is the mean share of the label that is hit."
        )
    if seeds > 1:
        text = f"Lines are means over {seeds} seeds, bands span the least to the largest. {text}"
    if (low := _lowest(content)) > 0 and _is_cut(content["curves"], low):
        text += f" Accuracies below {low:z.0f} % are not drawn."
    return [Figure(draw(content), "accuracy and loss over epochs"), Note(text)]


def _lowest(content: dict[str, Any]) -> float:
    """Where the axis of accuracy begins, in per cent: the first epochs need not be seen."""
    evaluated = content["curves"]["evaluated"]
    values = [100 * float(np.min(row["accuracy"])) for row in evaluated if "accuracy" in row]
    if "teacher" in content:
        values.append(100 * content["teacher"]["accuracy"])
    return float(max(0, 10 * (min(values, default=0) // 10)))


def _is_cut(curves: dict[str, Any], low: float) -> bool:
    rows = [*curves["train"], *curves["evaluated"]]
    return any(100 * np.min(row["accuracy"]) < low for row in rows if "accuracy" in row)


def draw(content: dict[str, Any]) -> str:
    """Accuracy and loss over epochs: lines of the mean over seeds, bands from the least to the
    largest.
    """
    evaluated, train = content["curves"]["evaluated"], content["curves"]["train"]
    with canvas(2, 3.4) as drawing:
        left, right = drawing.axes
        split = content["split"]
        _band(left, train, "accuracy", 100, OTHER, "training batches")
        _band(left, evaluated, "accuracy", 100, STUDENT, f"{split} images")
        if "teacher" in content:
            level = 100 * content["teacher"]["accuracy"]
            left.axhline(level, color=TEACHER, linestyle="--", label="teacher")
        left.set(title="accuracy, %", xlabel="epoch")
        low = _lowest(content)
        left.set_ylim(low, 100 + (100 - low) / 50)
        legend_below(left)
        _band(right, train, "loss", 1, OTHER, "training loss")
        _band(right, evaluated, "nll", 1, STUDENT, f"NLL of {split} images")
        right.set(title="loss, nats", xlabel="epoch", yscale="log")
        legend_below(right)
        for axis in drawing.axes:
            axis.xaxis.get_major_locator().set_params(integer=True)
    return drawing.svg


def _band(axis: Any, rows: Sequence[dict], key: str, scale: float, color: str, label: str) -> None:
    rows = [row for row in rows if key in row]
    if not rows:
        return
    epoch = [row["epoch"] + 1 for row in rows]
    values = scale * np.array([row[key] for row in rows])
    mark = "." if len(rows) < 40 else None
    axis.plot(epoch, values.mean(axis=1), color=color, marker=mark, label=label)
    axis.fill_between(
        epoch, values.min(axis=1), values.max(axis=1), color=color, alpha=0.18, linewidth=0
    )
