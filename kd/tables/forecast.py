"""What a table would run, and how long that may take: from finished runs of the same config, or of
the same row, as published, or by budget.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.tables.plan import Run


def lines(
    todo: Sequence[Run],
    runs: Mapping[str, Run],
    root: os.PathLike | str,
    published: Mapping[str, Any],
) -> list[str]:
    """What would run, a line each and one for all, and for how long by what is known, also from the
    content of a published file.
    """
    told, total, unknown = [], 0.0, 0
    for run in todo:
        seconds, why = _estimate(run, runs, root, published)
        begun = ", goes on" if run.workdir.metrics.exists() else ""
        if seconds is None:
            unknown += 1
            told.append(f"{run.reference}{begun}: {why}")
        else:
            total += seconds
            told.append(f"{run.reference}{begun}: {_minutes(seconds)} ({why})")
    more = f", and {unknown} runs of unknown length" if unknown else ""
    return [*told, f"{len(todo)} runs to do, one at a time {_minutes(total)}{more}"]


def _estimate(
    run: Run, runs: Mapping[str, Run], root: os.PathLike | str, published: Mapping[str, Any]
) -> tuple[float | None, str]:
    """Seconds that the whole run may take, and how we know."""
    rows = {cell.row for cell in run.cells}
    others = {r.identity: r for r in runs.values()}.values()
    alike = _but_seeds(run.workdir.path.name)
    same = [d for d in _directories(root) if _but_seeds(d.path.name) == alike]
    near = [r.workdir for r in others if rows & {cell.row for cell in r.cells}]
    for there, why in ((same, "the same config"), (near, "its row")):
        found = [seconds for d in there if (seconds := _seconds_of_one(d)) is not None]
        if found:
            mean = sum(found) / len(found)
            return mean * run.config.seeds, f"from finished runs of {why}"
    for entry in published.get("runs", {}).values():
        if entry["identity"] == run.identity and entry["seconds"] is not None:
            return entry["seconds"], "as published"
    budgets = [cell.budget for cell in run.cells if cell.budget is not None]
    if budgets:
        return 60 * max(budgets), "its budget"
    return None, "of unknown length"


def _directories(root: os.PathLike | str) -> list[Workdir]:
    path = Path(root)
    return [Workdir(own) for own in sorted(path.iterdir())] if path.is_dir() else []


def _seconds_of_one(workdir: Workdir) -> float | None:
    """What a finished run took for each of its seeds."""
    try:
        result = workdir.read("result.json")
        return result["seconds"] / len(result["seeds"])
    except (InputError, KeyError, TypeError, ZeroDivisionError):
        return None


def _but_seeds(name: str) -> str:
    """The name of a run's directory without what it says of seeds."""
    return re.sub(r"(?<=[-,])seeds=\d+,?", "", name).rstrip("-,")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
