"""Detects that a run's teacher or initial run has changed since it was trained. Imports no jax."""

from collections.abc import Iterable, Mapping
from typing import Any

from kd.errors import InputError
from kd.runs.workdir import Workdir

WEIGHTS = "run_weights"
"""Key of the entries `teacher` and `init` of a `result.json`: hash of all weights of that run."""


def weights_of(workdir: Workdir) -> str | None:
    """The hash of all weights of a finished run; None if the run is too old to have recorded it."""
    return workdir.read("result.json").get("weights")


def recorded(result: Mapping[str, Any], groups: Iterable[int], init: bool) -> dict[str, str | None]:
    """The weights that a finished run was trained from, by the names of `sources`.

    Args:
      result: content of its `result.json`. Old ones did not record weights: None.
      groups: indices of its teachers' groups to look up.
      init: whether to look up the run that it started from.
    """
    teacher: Mapping[str, Any] = result.get("teacher") or {}
    entries = teacher.get("groups") or [teacher]
    weights = {f"teacher {i}": entries[i].get(WEIGHTS) for i in groups}
    return weights | ({"init": (result.get("init") or {}).get(WEIGHTS)} if init else {})


def sources(groups: Mapping[int, Workdir], init: Workdir | None) -> dict[str, Workdir]:
    """The runs that a run is trained from, by name.

    Args:
      groups: the runs of its teachers, by the indices of their groups.
      init: the run that it starts from.
    """
    runs = {f"teacher {i}": workdir for i, workdir in groups.items()}
    return runs | ({"init": init} if init is not None else {})


def changed(weights: Mapping[str, str | None], runs: Mapping[str, Workdir]) -> Workdir | None:
    """The first of the runs whose weights differ from the recorded ones; unknown weights pass.

    Args:
      weights: from `recorded`.
      runs: from `sources`.
    """
    for name, workdir in runs.items():
        then, now = weights.get(name), workdir.finished and weights_of(workdir)
        if then and now and then != now:
            return workdir
    return None


def check(workdir: Workdir, groups: Mapping[int, Workdir], init: Workdir | None = None) -> None:
    """Raises InputError if a run that a finished one was trained from has other weights now.

    Args:
      workdir: the finished run.
      groups: the runs of its teachers, by the indices of their groups.
      init: the run that it started from.
    """
    then = recorded(workdir.read("result.json"), groups, init is not None)
    if source := changed(then, sources(groups, init)):
        raise InputError(
            f"{workdir} was trained from a run in {source} that had other weights than the one "
            "there now. Remove it, to train it anew from that one, or bring the earlier run back."
        )
