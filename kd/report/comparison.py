"""Several runs side by side: accuracy against bytes, and paired differences."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kd.errors import InputError
from kd.report.stored import Stored, difference, interval, same_examples
from kd.runs.workdir import Workdir


class Point(NamedTuple):
    """A network, or an ensemble of `networks`, in the plane of bytes and accuracy."""

    name: str
    networks: int
    bytes: int
    macs: int
    accuracy: float
    low: float  # of the 95 % bootstrap interval over examples and seeds
    high: float


def require_same_examples(runs: Sequence[Stored]) -> None:
    """Raises InputError where one of the runs was evaluated on other examples than the first."""
    first = runs[0]
    for other in runs[1:]:
        if not same_examples(first, other.result, other.label):
            raise InputError(
                f"{other.workdir} was evaluated on other examples ({other.result['examples']:,} "
                f"{other.result['split']} images of {other.config['data']['name']}) than "
                f"{first.workdir} ({first.result['examples']:,} {first.result['split']} images of "
                f"{first.config['data']['name']}): report them apart."
            )


def pairs(runs: Sequence[Stored]) -> list[dict[str, Any]]:
    """Each later run against the first one, the accuracy gained over it."""
    first = runs[0]
    return [{"run": str(run.workdir), **difference(run.right, first.right)} for run in runs[1:]]


def points(runs: Sequence[Stored], others: Sequence[str]) -> list[Point]:
    """The runs, their teachers (one network, and the ensemble) and the finished runs in the
    directories `others`, each once; of cohorts a point for each place in them, which may be of an
    architecture of its own.
    """
    found: dict[str, Point] = {}
    for run in runs:
        _add_run(found, str(run.workdir), run.result, run.right)
    for run in runs:
        if run.target is None:
            continue
        for teacher in run.teachers:
            logits = teacher.workdir.predictions()["logits"]
            right = (logits.argmax(-1) == run.label).astype(float)
            _add_run(found, str(teacher.workdir), teacher.result, right)
        if run.networks > 1:
            where = " and ".join(str(teacher.workdir) for teacher in run.teachers)
            name = f"ensemble of {run.networks}: {where}"
            right = (run.target.argmax(-1) == run.label).astype(float)[None]
            _add(found, name, run.teacher_costs, right, run.networks)
    for path in others:
        there = Workdir(path)
        arrays = there.predictions()
        right = (arrays["logits"].argmax(-1) == arrays["label"]).astype(float)
        _add_run(found, path, there.read("result.json"), right)
    return sorted(found.values(), key=lambda point: (point.bytes, -point.accuracy))


def _add_run(
    found: dict[str, Point], name: str, result: Mapping[str, Any], right: np.ndarray
) -> None:
    peers = result.get("peers") or [result]
    for i, costs in enumerate(peers):
        place = f"{name}, peer {i}" if len(peers) > 1 else name
        _add(found, place, costs, right[i :: len(peers)])


def _add(
    found: dict[str, Point],
    name: str,
    costs: Mapping[str, Any],
    right: np.ndarray,
    networks: int = 1,
) -> None:
    if name not in found:
        cost = costs["bytes"], costs["macs"]
        found[name] = Point(name, networks, *cost, *interval(right))


def front(every: Sequence[Point]) -> list[Point]:
    """Those that no other beats: none is at least as accurate in fewer bytes, or more accurate in
    as many.
    """
    best, kept = -1.0, []
    for point in sorted(every, key=lambda p: (p.bytes, -p.accuracy)):
        if point.accuracy > best:
            kept.append(point)
            best = point.accuracy
    return kept
