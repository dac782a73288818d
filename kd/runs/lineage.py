"""What a finished run was trained from, and whether that is what stands there now. Imports no
jax.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kd.errors import InputError
from kd.runs.workdir import Workdir

WEIGHTS = "run_weights"
"""Key of the entries `teacher` and `init` of a `result.json`: the fingerprint of all weights of the
run that was built on.
"""


def weights_of(workdir: Workdir) -> str | None:
    """The fingerprint of all weights of a finished run; None for one from before runs recorded
    it.
    """
    return workdir.read("result.json").get("weights")


def recorded(
    result: Mapping[str, Any], taught: Iterable[int], first: bool
) -> dict[str, str | None]:
    """The weights that a finished run was trained from, by `sources`' names: None for one from
    before runs recorded them.

    Args:
      result: the content of its `result.json`.
      taught: which of its teachers' groups, by their place, are runs that a plan knows.
      first: whether that with which it started is one.
    """
    teacher: Mapping[str, Any] = result.get("teacher") or {}
    groups = teacher.get("groups") or [teacher]
    found = {f"teacher {place}": groups[place].get(WEIGHTS) for place in taught}
    return found | ({"init": (result.get("init") or {}).get(WEIGHTS)} if first else {})


def sources(taught: Mapping[int, Workdir], first: Workdir | None) -> dict[str, Workdir]:
    """Where what a run is trained from lies, by name: teachers' runs by their place among its
    groups, and that with which it starts.
    """
    found = {f"teacher {place}": there for place, there in taught.items()}
    return found | ({"init": first} if first is not None else {})


def changed(weights: Mapping[str, str | None], places: Mapping[str, Workdir]) -> Workdir | None:
    """The first of the places, by `sources`' names, whose run has other weights now than those;
    what is not known passes.
    """
    for name, there in places.items():
        then, now = weights.get(name), there.finished and weights_of(there)
        if then and now and then != now:
            return there
    return None


def check(workdir: Workdir, taught: Mapping[int, Workdir], first: Workdir | None = None) -> None:
    """Raises InputError where a run that the finished one in `workdir` was trained from has other
    weights now; what is not known passes.

    Args:
      workdir: the finished run.
      taught: where its teachers' runs are, by their place among its groups.
      first: where the run is that it started from.
    """
    then = recorded(workdir.read("result.json"), taught, first is not None)
    if there := changed(then, sources(taught, first)):
        raise InputError(
            f"{workdir} was trained from a run in {there} that had other weights than the one "
            "there now. Remove it, to train it anew from that one, or bring the earlier run back."
        )
