"""Networks in the plane of bytes and accuracy, and the front of those that no other beats."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kd.errors import InputError
from kd.metrics.intervals import accuracy
from kd.report.run import Run, same_examples
from kd.runs.workdir import Workdir


class Point(NamedTuple):
    """A network, or an ensemble of several.

    Attributes:
      name: directory of the run, and which of its networks.
      networks: how many networks it is.
      bytes: of their weights.
      macs: their multiply-accumulates.
      accuracy: mean over seeds.
      low: end of its 95 % bootstrap interval over examples and seeds.
      high: the other end.
    """

    name: str
    networks: int
    bytes: int
    macs: int
    accuracy: float
    low: float
    high: float


def require_same_examples(runs: Sequence[Run]) -> None:
    """Raises InputError where a run was evaluated on other examples than the first."""
    first = runs[0]
    for other in runs[1:]:
        if not same_examples(first, other.result, other.label):
            raise InputError(
                f"{other.workdir} was evaluated on other examples ({other.result['examples']:,} "
                f"{other.result['split']} images of {other.config['data']['name']}) than "
                f"{first.workdir} ({first.result['examples']:,} {first.result['split']} images of "
                f"{first.config['data']['name']}). Write a report of each."
            )


def points(runs: Sequence[Run], others: Sequence[str]) -> list[Point]:
    """The runs, their teachers and other finished runs, each once, sorted by bytes.

    A teacher has a point for each run that its members come from, and one for the ensemble. A run
    of cohorts has a point for each peer, since peers may differ in architecture.
    """
    known: dict[str, Point] = {}
    for run in runs:
        _add_run(known, str(run.workdir), run.result, run.right)
    for run in runs:
        if run.target is None:
            continue
        for teacher in run.teachers:
            right, name = (teacher.logits.argmax(-1) == run.label).astype(float), teacher.workdir
            if "member_logits" in run.arrays:  # of its members, on the student's images
                _add(known, str(name), teacher.costs[0], right)
            else:
                _add_run(known, str(name), teacher.result, right)
        if run.teacher_size > 1 and run.teacher_costs:
            directories = " and ".join(str(teacher.workdir) for teacher in run.teachers)
            name = f"ensemble of {run.teacher_size}: {directories}"
            right = (run.target.argmax(-1) == run.label).astype(float)[None]
            _add(known, name, run.teacher_costs, right, run.teacher_size)
    for path in others:
        workdir = Workdir(path)
        arrays = workdir.predictions()
        right = (arrays["logits"].argmax(-1) == arrays["label"]).astype(float)
        _add_run(known, path, workdir.read("result.json"), right)
    return sorted(known.values(), key=lambda point: (point.bytes, -point.accuracy))


def _add_run(
    known: dict[str, Point], name: str, result: Mapping[str, Any], right: np.ndarray
) -> None:
    peers = result.get("peers") or [result]
    for i, costs in enumerate(peers):
        full_name = f"{name}, peer {i}" if len(peers) > 1 else name
        _add(known, full_name, costs, right[i :: len(peers)])


def _add(
    known: dict[str, Point],
    name: str,
    costs: Mapping[str, Any],
    right: np.ndarray,
    networks: int = 1,
) -> None:
    if name not in known:
        known[name] = Point(name, networks, costs["bytes"], costs["macs"], *accuracy(right))


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats: none is as accurate in fewer bytes, or more accurate in as
    many.
    """
    best, kept = -1.0, []
    for point in sorted(points, key=lambda p: (p.bytes, -p.accuracy)):
        if point.accuracy > best:
            kept.append(point)
            best = point.accuracy
    return kept
