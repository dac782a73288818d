"""Accuracy of the students and their teacher, with intervals, tests, loss and gains."""

import statistics
from typing import Any

import numpy as np

from kd.config import default_workdir
from kd.config.teachers import recorded, recorded_weights
from kd.errors import InputError
from kd.metrics import intervals, scores
from kd.metrics.reference import accuracy_loss
from kd.report import format, significance
from kd.report.blocks import Block, Grid, Note, Table
from kd.report.run import Run, same_examples
from kd.runs.costs import COSTS
from kd.runs.workdir import Workdir

TITLE = "Accuracy"
ORDER = 10


def measure(run: Run) -> dict[str, Any]:
    """`accuracy`, its intervals, `gains` over the runs of `config.compare`, and `teacher`.

    Raises:
      InputError: a run of `config.compare` was evaluated on other examples. The gain over one that
        is not finished is None.
    """
    content: dict[str, Any] = {
        "accuracy": _mean(scores.accuracy(run.logits, run.label)),
        "interval_95": list(intervals.accuracy(run.right)),
        "wilson_95": [_wilson(logits, run.label) for logits in run.logits],
        "gains": {
            name: _gain(run, Workdir(default_workdir(config, run.root)))
            for name, config in (run.config.get("compare") or {}).items()
        },
    }
    if run.target is not None:
        content["teacher"] = {
            "groups": [group.to_json() for group in recorded(run.result["teacher"])],
            "paired": run.paired,
            "networks": run.teacher_size,
            "costs": run.teacher_costs,
            "member_costs": [cost for teacher in run.teachers for cost in teacher.costs],
            **_against(run.logits, run.label, run.target),
        }
    return content


def _gain(run: Run, workdir: Workdir) -> dict[str, Any] | None:
    """Accuracy gained over another run, with its interval; None where that is not finished."""
    if not workdir.finished:
        return None
    other = Run(workdir, {}, workdir.read("result.json"), workdir.predictions())
    if not same_examples(run, other.result, other.label):
        raise InputError(
            f"{workdir} was evaluated on other examples than {run.workdir}, so that the two "
            "cannot be compared."
        )
    costs = other.result.get("peers") or [other.result]
    return {
        "run": str(workdir),
        **significance.difference(run.right, other.right),
        "taught": bool(recorded_weights(other.result["teacher"])),
        "costs": [{key: cost[key] for key in COSTS} for cost in costs],
        "seeds": len(other.result["seeds"]),
    }


def _against(logits: np.ndarray, label: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """The teacher's accuracy and the students' distance from it."""
    right, teacher_right = logits.argmax(-1) == label, target.argmax(-1) == label
    # Teachers of one student each are several networks, as the students are.
    single = target.ndim == 2
    interval = _wilson(target, label) if single else intervals.accuracy(teacher_right * 1.0)
    pairs = zip(right, np.broadcast_to(teacher_right, right.shape), strict=True)
    return {
        "accuracy": _mean(teacher_right),
        "interval_95": list(interval),
        "loss": accuracy_loss(logits, target, label)._asdict(),
        "mcnemar_p": [significance.mcnemar(*pair) for pair in pairs],
        "agreement": _mean(scores.agreement(logits, target)),
        "kl": _mean(scores.kl(logits, target)),
    }


def _wilson(logits: np.ndarray, label: np.ndarray) -> list[float]:
    right = int(np.sum(logits.argmax(-1) == label))
    return list(significance.wilson(right, len(label)))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def show(content: dict[str, Any]) -> list[Block]:
    """A table of accuracies and one of differences."""
    blocks: list[Block] = [Table(_accuracies(content))]
    differences = _differences(content)
    if len(differences) > 1:
        blocks.append(Table(differences))
    note = (
        "The interval of one network is Wilson's; intervals of all seeds and of differences are "
        "from the paired bootstrap over test images and seeds, with Student's t for seeds, and "
        "decide what is significant. The p-values are of McNemar's test of two single networks, "
        "not corrected for multiple tests."
    )
    return [*blocks, Note(note)]


def _accuracies(content: dict[str, Any]) -> Grid:
    teacher = content.get("teacher")
    grid: Grid = [["", "accuracy %", "95 % interval"]]
    p_values: list[Any] = [None] * len(content["seeds"])
    if teacher:
        grid[0].append("p-value against the teacher")
        p_values = teacher["mcnemar_p"]
        size = teacher["networks"]
        name = f"teacher, ensemble of {size}" if size > 1 else "teacher"
        if teacher["paired"]:
            name = "teachers, one for each student"
        grid.append([name, *format.estimate(teacher["interval_95"]), ""])
    last = [""] if teacher else []
    grid.append(["student, all seeds", *format.estimate(content["interval_95"]), *last])
    for seed, interval, p in zip(content["seeds"], content["wilson_95"], p_values, strict=True):
        last = [format.p_value(p)] if teacher else []
        grid.append([f"student, seed {seed}", *format.estimate(interval), *last])
    return grid


def _differences(content: dict[str, Any]) -> Grid:
    grid: Grid = [["difference", "points", "95 % interval", "median p-value"]]
    if "teacher" in content:
        teacher = content["teacher"]
        loss = {**teacher["loss"], "mcnemar_p": statistics.median(teacher["mcnemar_p"])}
        grid.append(["teacher minus student", *format.gain(loss)])
    for name, gain in content["gains"].items():
        if gain:
            grid.append([f"student minus {name}", *format.gain(gain)])
    return grid
