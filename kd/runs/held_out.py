"""Whether validation images of a run are really new to its network: neither the run nor a run that
it builds on may have been trained on them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kd.build import as_today
from kd.config.teachers import recorded
from kd.data.base import Split
from kd.data.remarks import equal_examples
from kd.errors import InputError
from kd.runs.coverage import IMPORTED
from kd.runs.networks import measured_data
from kd.runs.workdir import Workdir

SPLIT = ("data", "holdout", "validation")
"""Keys of a config that say which images are validation images."""


def seen_by(workdir: Workdir, held_out: Split | None) -> dict[str, int | None]:
    """How many of these images each run was trained on that a run builds on, and its own weights
    where they were imported. None: not known. Runs that were trained on none are left out.

    Args:
      workdir: of a finished run.
      held_out: its validation images; None where its data are gone.
    """
    seen: dict[str, int | None] = {}
    result, config = workdir.read("result.json"), as_today(workdir.read("config.json"))
    if result.get("imported"):
        seen[IMPORTED] = None
    for run in _ancestors(result, {str(workdir)}):
        count = _count(Workdir(run), config, held_out)
        if count != 0:
            seen[run] = count
    return seen


def _ancestors(result: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    """Directories of all runs that a finished one builds on, each once."""
    runs = [group.run for group in recorded(result.get("teacher"))]
    runs += [result["init"]["run"]] if result.get("init") else []
    for run in runs:
        if run in known:
            continue
        known.add(run)
        yield run
        if Workdir(run).finished:
            yield from _ancestors(Workdir(run).read("result.json"), known)


def _count(other: Workdir, config: Mapping[str, Any], held_out: Split | None) -> int | None:
    """How many of the images another run was trained on; None where it is gone."""
    if not other.finished:
        return None
    try:
        theirs = as_today(other.read("config.json"))
        if other.read("result.json").get("imported"):
            return None
        if all(theirs.get(key) == config.get(key) for key in SPLIT):
            return 0
        if held_out is None:
            return None
        pairs = equal_examples(measured_data(other).train, held_out)
    except InputError:  # its data are gone, or not those that it was trained on
        return None
    return None if pairs is None else len(np.unique([i for i, _ in pairs]))
