"""Which of several runs is preferred: the smallest file that is not shown to be less accurate.

The most accurate file is compared with each other one. A loss of accuracy is shown where the
interval of the two runs, over images and seeds as in the closing table, lies above zero, or that of
the two exported networks, over images: of few seeds the former is wide, and what is exported does
not vary with them.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kd.errors import InputError
from kd.metrics.intervals import Interval, paired_difference, sign
from kd.metrics.limits import ROUNDING
from kd.runs.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A run after it was measured.

    Attributes:
      run: its directory.
      why: why it does not fit; "" where it fits.
      seed: of the exported network.
      flash: bytes of its file.
      arena: bytes of TFLM's arena.
      accuracy: on the evaluated images.
      validation: accuracy on validation images; None where the run kept none.
      beyond: gates whose default limit it fails, though it passed a changed or waived one.
      peer: the exported network of a cohort; None where a student is one network.
      stack: bytes that an inference uses on the target; None where that was not measured.
      instructions: of an inference on the target; None where that was not measured.
    """

    run: str
    why: str
    seed: int = 0
    flash: int = 0
    arena: int = 0
    accuracy: float = 0.0
    validation: float | None = None
    beyond: Sequence[str] = ()
    peer: int | None = None
    stack: int | None = None
    instructions: int | None = None


@dataclasses.dataclass(frozen=True)
class Choice:
    """The chosen run.

    Attributes:
      best: which one.
      reason: why, in words.
      left_out: a sentence for each other one that fits, in their order.
    """

    best: Candidate
    reason: str
    left_out: list[tuple[Candidate, str]]


def choose(fitting: Sequence[Candidate]) -> Choice:
    """Chooses among the runs that fit, of which there is at least one.

    Raises:
      InputError: they were evaluated on different images, or their predictions cannot be read.
    """
    if len(fitting) == 1:
        return Choice(fitting[0], "the only one that fits", [])
    validated = all(c.validation is not None for c in fitting)
    accuracy = lambda c: c.validation if validated else c.accuracy
    rank = lambda c: (-accuracy(c), c.flash, c.arena)
    leader = min(fitting, key=rank)
    right = _right(fitting, leader, validated)
    losses = {c.run: _Loss(leader, c, right, accuracy(leader) - accuracy(c)) for c in fitting}
    smallest = lambda c: (c.flash, *rank(c))
    best = min((c for c in fitting if c is leader or not losses[c.run].shown), key=smallest)
    left_out = [(c, _why(c, best, leader, losses, accuracy)) for c in fitting if c is not best]
    images = "the validation images that the runs kept" if validated else "the evaluated images"
    reason = (
        f"the most accurate on {images}, and no smaller file is as accurate within its interval"
    )
    if best is not leader:
        reason = (
            f"the smallest file that is not shown to be less accurate on {images} than the most "
            f"accurate one, {leader.run}: {losses[best.run]}"
        )
    elif not any(c.flash < best.flash for c in fitting):
        reason = f"the most accurate on {images}, and no file is smaller"
    if not validated:
        reason += (
            "; not all runs kept validation images (config.validation), so expect a lower accuracy "
            "on new images"
        )
    return Choice(best, reason, left_out)


class _Right(NamedTuple):
    """Where networks are right on the same n images.

    Attributes:
      runs: of each seed, [s, n].
      exported: of the exported one, [1, n].
    """

    runs: np.ndarray
    exported: np.ndarray


class _Loss:
    """What a run loses against the most accurate one.

    Attributes:
      interval: of the runs, over images and the seeds of a run that has several.
      exported: of the two exported networks, over images.
      of_files: what the exported file loses against the other, in [0, 1].
      of_runs: whether there is a loss of the runs.
      shown: whether there is a loss of the runs, of the exported networks, or of the files beyond
        what the networks lose: the seed that was exported may be a bad one, or its int8 may lose
        more than others.
    """

    def __init__(
        self,
        leader: Candidate,
        other: Candidate,
        right: dict[str, _Right],
        of_files: float,
    ):
        a, b = right[leader.run], right[other.run]
        self.of_files, self.several = of_files, max(len(a.runs), len(b.runs)) > 1
        self.interval = self.exported = Interval(0, 0, 0)
        if other is not leader:
            self.interval = paired_difference(a.runs, b.runs)
            self.exported = paired_difference(a.exported, b.exported)
        self.of_runs = sign(self.interval) > 0
        beyond = of_files > self.exported.high + ROUNDING
        self.shown = self.of_runs or sign(self.exported) > 0 or beyond

    def __str__(self) -> str:
        over = "images and seeds" if self.several else "images alone, for there is one seed"
        return f"{_points(self.interval)} over {over}"


def _points(interval: Interval) -> str:
    value, low, high = (f"{100 * number:+z.2f}" for number in interval)
    return f"loss {value} points, 95 % interval [{low}, {high}]"


def _why(c: Candidate, best: Candidate, leader: Candidate, losses: dict, accuracy) -> str:
    """Why a run that fits is not the chosen one, in one sentence."""
    loss = losses[c.run]
    if c is not leader and loss.shown:
        if loss.of_runs:
            return f"less accurate than {leader.run}: {loss}"
        return (
            f"its file is {100 * loss.of_files:z.2f} points less accurate than that of "
            f"{leader.run} (the two exported networks: {_points(loss.exported)} over images)"
        )
    if c.flash > best.flash:
        most = "the most accurate, but its file is" if c is leader else "its file is"
        return f"{most} {c.flash - best.flash:,} bytes larger, and no gain over {best.run} is shown"
    if accuracy(c) < accuracy(best):
        return (
            f"its file is as large and {100 * (accuracy(best) - accuracy(c)):z.2f} points less "
            "accurate"
        )
    if c.arena > best.arena:
        return f"equal in size and accuracy, and its arena is {c.arena - best.arena:,} bytes larger"
    return f"equal to {best.run}, which was named first"


def _right(fitting: Sequence[Candidate], leader: Candidate, validated: bool) -> dict[str, _Right]:
    """Where the networks of each run are right, on the images of the leader.

    Raises InputError where the images differ.
    """
    prefix = "validation_" if validated else ""
    right, first = {}, None
    for c in [leader, *(c for c in fitting if c is not leader)]:
        workdir = Workdir(c.run)
        result, arrays = workdir.read("result.json"), workdir.predictions()
        logits, label = arrays[f"{prefix}logits"], arrays[f"{prefix}label"]
        images = (result.get("evaluated"), label)
        first = first or images
        known = None not in (images[0], first[0])
        if (known and images[0] != first[0]) or not np.array_equal(label, first[1]):
            raise InputError(
                f"{c.run} and {leader.run} were evaluated on different images, so that their "
                "accuracies cannot be compared. Name runs with the same data and config.holdout"
                f"{' and config.validation' * validated}, or keep one of the two by the limits."
            )
        peers = len(result.get("peers", [1]))
        logits = logits[c.peer or 0 :: peers] if peers > 1 else logits
        runs = (logits.argmax(-1) == label).astype(float)
        row = result["seeds"].index(c.seed)
        right[c.run] = _Right(runs, runs[row : row + 1])
    return right


def distinct(runs: Sequence[str]) -> list[str]:
    """The directories without those that were named before, under whatever name."""
    return list({Path(run).resolve(): run for run in reversed(runs)}.values())[::-1]
