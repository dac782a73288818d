"""What a finished run was trained from, and whether that is what stands there now. Imports no jax."""

from collections.abc import Mapping
from typing import Any

from kd.errors import InputError
from kd.workdir import Workdir

WEIGHTS = "run_weights"
"""Key of the entries `teacher` and `init` of a `result.json`: the fingerprint of all weights of the run that was built on."""


def weights_of(workdir: Workdir) -> str | None:
    """The fingerprint of all weights of a finished run; None for one from before runs recorded it."""
    return workdir.read("result.json").get("weights")


def check(
    workdir: Workdir, taught: Mapping[int, Workdir], first: Workdir | None = None
) -> None:
    """Raises InputError where a run that the finished one in `workdir` was trained from has other weights now; what is not known passes.

    Args:
      workdir: the finished run.
      taught: where its teachers' runs are, by their place among its groups.
      first: where the run is that it started from.
    """
    result = workdir.read("result.json")
    teacher: Mapping[str, Any] = result.get("teacher") or {}
    groups = teacher.get("groups") or [teacher]
    pairs = [(groups[place], there) for place, there in taught.items()]
    if first is not None:
        pairs.append((result.get("init") or {}, first))
    for record, there in pairs:
        then, now = record.get(WEIGHTS), there.finished and weights_of(there)
        if then and now and then != now:
            raise InputError(
                f"{workdir} was trained from a run in {there} that had other weights than the one there now. "
                "Remove it, to train it anew from that one, or bring the earlier run back."
            )
