"""What a table would run, and an estimate of the time.

The estimate comes from finished runs of the same config or the same row, from published results, or
from the budget.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.tables.plan import Run
from kd.values import counted


def lines(
    todo: Sequence[Run],
    runs: Mapping[str, Run],
    root: os.PathLike | str,
    published: Mapping[str, Any],
) -> list[str]:
    """A line for each run with its estimate, and a line with the sum.

    Args:
      todo: what would run.
      runs: all runs of the experiment by reference.
      root: directory of all runs.
      published: content of the experiment's published results.
    """
    text, total, unknown = [], 0.0, 0
    for run in todo:
        seconds, source = _estimate(run, runs, root, published)
        resumed = ", resumed" if run.workdir.metrics.exists() else ""
        if seconds is None:
            unknown += 1
            text.append(f"{run.reference}{resumed}: {source}")
        else:
            total += seconds
            text.append(f"{run.reference}{resumed}: {duration(seconds)} ({source})")
    rest = f", and {counted(unknown, 'run')} of unknown length" if unknown else ""
    return [*text, f"{counted(len(todo), 'run')} to do, one at a time {duration(total)}{rest}"]


def duration(seconds: float) -> str:
    """Seconds as text: in minutes from two minutes on."""
    return f"{seconds:z.0f} s" if seconds < 120 else f"{seconds / 60:z.0f} min"


def _estimate(
    run: Run, runs: Mapping[str, Run], root: os.PathLike | str, published: Mapping[str, Any]
) -> tuple[float | None, str]:
    """Seconds that a run may take from its beginning, None if unknown; and the source of that."""
    name = _without_seeds(run.workdir.path.name)
    same_config = [d for d in _directories(root) if _without_seeds(d.path.name) == name]
    rows = {cell.row for cell in run.cells}
    distinct = {r.identity: r for r in runs.values()}.values()
    same_row = [r.workdir for r in distinct if rows & {cell.row for cell in r.cells}]
    for workdirs, source in ((same_config, "the same config"), (same_row, "its row")):
        times = [s for workdir in workdirs if (s := _seconds_per_seed(workdir)) is not None]
        if times:
            mean = sum(times) / len(times)
            return mean * run.config.seeds, f"from finished runs of {source}"
    for entry in published.get("runs", {}).values():
        if entry["identity"] == run.identity and entry["seconds"] is not None:
            return entry["seconds"], "as published"
    budgets = [cell.budget for cell in run.cells if cell.budget is not None]
    if budgets:
        return 60 * max(budgets), "its budget"
    return None, "of unknown length"


def _directories(root: os.PathLike | str) -> list[Workdir]:
    path = epath.Path(root)
    return [Workdir(child) for child in sorted(path.iterdir())] if path.is_dir() else []


def _seconds_per_seed(workdir: Workdir) -> float | None:
    """None if the run is not finished, or does not record it."""
    try:
        result = workdir.read("result.json")
        return result["seconds"] / len(result["seeds"])
    except (InputError, KeyError, TypeError, ZeroDivisionError):
        return None


def _without_seeds(name: str) -> str:
    """The name of a run directory without its argument `seeds`."""
    return re.sub(r"(?<=[-,])seeds=\d+,?", "", name).rstrip("-,")
