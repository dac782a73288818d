"""How each run of an experiment goes: done, running, waiting for what, failed and why.

From the run directories, the records of engines, and the queue of a cluster. Imports no jax.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from kd import engines
from kd.engines import records
from kd.errors import InputError, RunError
from kd.files.escaping import plain
from kd.runs import buckets
from kd.runs.progress import duration
from kd.runs.workdir import Workdir
from kd.tables.plan import Run

ORDER = ("failed", "running", "queued", "stopped", "waiting", "missing", "done")
"""States in the order of the summary, the most urgent first."""

TAIL = 65536
"""Bytes at the end of `metrics.jsonl` that are read."""

THREADS = 16


class State(NamedTuple):
    """How a run goes.

    Attributes:
      name: one of `ORDER`.
      words: where it is, how far, what it waits for or why it failed.
    """

    name: str
    words: str = ""


def states(runs: Sequence[Run], plan: Mapping[str, Run]) -> dict[str, State]:
    """The state of each run, by reference; the runs are in the order of the plan."""
    queues: dict[str, Mapping[str, str]] = {}
    for name in {record.get("engine", "") for record in _each(records.read, runs)}:
        try:
            queues[name] = engines.states(name) if name else {}
        except RunError as error:
            queues[name] = {"": str(error)}
    looked = _each(lambda run: _state(run, queues), runs)
    by_reference = {run.reference: state for run, state in zip(runs, looked, strict=True)}
    for run in runs:  # each after those that it needs
        if by_reference[run.reference].name in ("missing", "queued", "stopped"):
            by_reference[run.reference] = _with_needs(run, plan, by_reference)
    return by_reference


def lines(runs: Sequence[Run], plan: Mapping[str, Run], every: bool = False) -> list[str]:
    """A line for each run that is not done, or for each, and one with the sum."""
    shown = states(runs, plan)
    text = [
        f"{state.name:8} {reference}" + (f": {state.words}" if state.words else "")
        for reference, state in sorted(shown.items(), key=lambda item: ORDER.index(item[1].name))
        if every or state.name != "done"
    ]
    counts = Counter(state.name for state in shown.values())
    total = ", ".join(f"{counts[name]} {name}" for name in reversed(ORDER) if counts[name])
    return [*map(plain, text), f"{len(runs)} runs: {total}" if runs else "no runs"]


def _each(function: Any, runs: Sequence[Run]) -> list[Any]:
    """What a function of a run says of each; side by side, since buckets answer slowly."""
    by_run = (lambda run: function(run.workdir)) if function is records.read else function
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(by_run, runs))


def _state(run: Run, queues: Mapping[str, Mapping[str, str]]) -> State:
    """The state of a run without a look at those that it needs."""
    workdir = run.workdir
    if workdir.finished:
        return State("done")
    record = records.read(workdir)
    queue = queues.get(record.get("engine", ""), {})
    job = str(record.get("job", ""))
    queued = queue.get(job, "")
    holder = workdir.holder() if workdir.path.exists() else None
    if holder is not None:
        where = f"{holder.get('host', 'another process')}"
        where += f", {holder['job']}" if holder.get("job") else ""
        return State("running", ", ".join(filter(None, (f"on {where}", progress(run)))))
    if queued:
        from kd.engines import slurm

        if slurm.is_waiting(queued):
            name = "running" if queued.startswith("RUNNING") else "queued"
            return State(name, f"job {job}, {queued.lower() if name == 'running' else queued}")
    if record.get("engine") == "slurm" and "" not in queue:
        from kd.engines import slurm

        words = slurm.ended(workdir, record)
        return State("stopped" if " was " in words.partition(":")[0] else "failed", words)
    if record.get("state") == "failed":
        return State("failed", str(record.get("reason", "")))
    return State("stopped", progress(run)) if workdir.metrics.exists() else State("missing")


def _with_needs(run: Run, plan: Mapping[str, Run], states: Mapping[str, State]) -> State:
    needs = [plan[need].reference for need in run.needs]
    for need in needs:
        if states.get(need, State("done")).name == "failed":
            return State("failed", f"{need}, which it needs, failed")
    if states[run.reference].name != "missing":
        return states[run.reference]
    left = [need for need in needs if states.get(need, State("done")).name != "done"]
    return State("waiting", f"for {', '.join(left)}") if left else states[run.reference]


def progress(run: Run) -> str:
    """How far a run is, and how long it may take yet: "step 1,200, epoch 3 of 10, 5 min left"."""
    rows = [row for row in _rows(run.workdir) if row.get("kind") == "train"]
    if not rows:
        return ""
    last = rows[-1]
    try:
        epochs, step, seconds = run.config.epochs, int(last["step"]), float(last["seconds"])
        text = f"step {step:,}, epoch {int(last['epoch']) + 1} of {epochs}"
        of_epoch = _steps_of_epoch(rows)
        if of_epoch and seconds:
            left = max(epochs * of_epoch - step, 0) * seconds / step
            text += f", {duration(left)} left"
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return ""
    return text


def _steps_of_epoch(rows: Sequence[Mapping[str, Any]]) -> float:
    """Steps of an epoch, from the last one that the rows show complete; 0 if none is."""
    last = rows[-1]["epoch"]
    before = [row["step"] for row in rows if row["epoch"] < last]
    return before[-1] / last if before and last else 0.0


def _rows(workdir: Workdir) -> list[dict[str, Any]]:
    """The last rows of `metrics.jsonl` that can be read."""
    try:
        if buckets.is_bucket(str(workdir)):
            text = workdir.metrics.read_bytes()[-TAIL:]
        else:
            with open(os.fspath(workdir.metrics), "rb") as file:  # noqa: PTH123
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL))
                text = file.read()
    except OSError:
        return []
    rows = []
    for line in text.split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows += [row] if isinstance(row, dict) else []
    return rows


def watch(runs: Sequence[Run], plan: Mapping[str, Run], seconds: float, every: bool) -> None:
    """Prints the state from time to time, until all runs are done or have failed."""
    while True:
        text = lines(runs, plan, every)
        print(f"\x1b[2J\x1b[H{time.strftime('%H:%M:%S')}", *text, sep="\n", flush=True)
        if all(state.name in ("done", "failed") for state in states(runs, plan).values()):
            return
        time.sleep(seconds)


def act(file: str, root: str, seeds: int | None, only: str, every: bool, seconds: float) -> int:
    """Prints how the runs of an experiment go. Raises InputError for one that cannot be read."""
    from kd.tables import plan
    from kd.tables.command import select
    from kd.tables.experiment import load

    if buckets.is_bucket(root):
        buckets.absolute(root)
    if seconds < 0:
        raise InputError(f"--watch: expected seconds, got {seconds:zg}.")
    experiment = load(file, seeds)
    runs = plan.make(experiment, root)
    order: dict[str, Run] = {}
    for cell in select(experiment, only):
        order |= {run.reference: run for run in plan.order_of(runs[cell.reference], runs)}
    if seconds:
        watch(list(order.values()), runs, seconds, every)
    else:
        print("\n".join(lines(list(order.values()), runs, every)))
    return 0
