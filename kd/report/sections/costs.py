"""Parameters, bytes, multiply-accumulates and latency of one network."""

import functools
import statistics
import time
from typing import Any

from kd.report.blocks import Block, Grid, Note, Table
from kd.report.run import Run
from kd.runs.costs import COSTS, by_peer

TITLE = "Size and cost"
ORDER = 20


def measure(run: Run) -> dict[str, Any]:
    """`costs` of the student and of each group of teachers; with networks also `latency_ms`.

    Of a cohort `student` is the mean over its peers, and each peer has an entry of its own. Latency
    is that of the first.
    """
    costs = by_peer(run.result)
    for teacher in run.teachers:
        name = f"teacher in {teacher.workdir}" if len(run.teachers) > 1 else "teacher"
        costs[name] = teacher.costs[0]  # a group is of one architecture
    if run.networks is None:
        return {"costs": costs}
    from kd.runs.environment import hardware

    return {
        "costs": costs,
        "networks": {"hardware": hardware(), "latency_ms": latency(run.networks)},
    }


def latency(networks: Any) -> dict[str, float]:
    """Milliseconds for one image with one member: medians of 50 calls, the networks in turn."""
    import jax

    image = jax.device_put(networks.raw([0]))
    calls = {
        name: functools.partial(network.apply_logits, network.members[0], image)
        for name, network in networks.networks.items()
    }
    jax.block_until_ready([call() for call in calls.values()])
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(50):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(seconds) for name, seconds in times.items()}


def show(content: dict[str, Any]) -> list[Block]:
    """A table of the costs."""
    measured = content["networks"]
    head = ["one network", "parameters", "bytes", "MACs"]
    grid: Grid = [[*head, "latency, ms"] if measured else head]
    is_cohort = "student, peer 0" in content["costs"]
    for name, cost in content["costs"].items():
        title = f"{name}, mean of its peers" if is_cohort and name == "student" else name
        row = [title, *(f"{cost[k]:,}" for k in COSTS)]
        if measured:  # teachers of several architectures are not run
            timed = {"student": "", "student, peer 0": "student"} if is_cohort else {}
            milliseconds = measured["latency_ms"].get(timed.get(name, name))
            row.append("" if milliseconds is None else f"{milliseconds:z.3f}")
        grid.append(row)
    blocks: list[Block] = [Table(grid)]
    if measured:
        machine = measured["hardware"]
        note = (
            "Latency is the median of 50 calls with one image on this machine "
            f"({machine['device']}, {machine['cores']} cores), not on a target device."
        )
        blocks.append(Note(note))
    return blocks
