"""How much of their width the networks use."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kd.report.blocks import Block, Grid, Note, Table
from kd.report.run import Run

TITLE = "Use of the width"
ORDER = 80


def measure(run: Run) -> dict[str, Any]:
    """`capacity` of each stage of each network, means over its members; `images` it is measured
    on.
    """
    if run.networks is None:
        return {}
    measured = run.networks.representations
    rows = {
        name: [
            {
                "stage": stage,
                "units": members[0].units,
                "dead": float(np.mean([c.dead for c in members])),
                "rank": float(np.mean([c.rank for c in members])),
            }
            for stage, members in stages.items()
        ]
        for name, stages in measured.capacity.items()
    }
    return {"networks": {"images": measured.images, "capacity": rows}}


def show(content: dict[str, Any]) -> list[Block]:
    """A table of the stages."""
    measured = content["networks"]
    if not measured:
        return []
    grid: Grid = [["stage", "units", "dead", "effective rank", "rank, % of units"]]
    for name, stages in measured["capacity"].items():
        for s in stages:
            grid.append(
                [
                    f"{name}, {s['stage']}",
                    f"{s['units']:,}",
                    f"{round(s['dead'], 1):zg}",
                    f"{s['rank']:z.1f}",
                    f"{100 * s['rank'] / s['units']:z.1f}",
                ]
            )
    note = (
        f"On {measured['images']:,} test images; means over the networks. The effective rank is "
        "that of Roy and Vetterli 2007."
    )
    return [Table(grid), Note(note)]


def conclude(content: dict[str, Any]) -> Iterator[str]:
    """Dead units of the student."""
    if not content["networks"]:
        return
    stages = content["networks"]["capacity"]["student"]
    dead = [
        f"{round(s['dead'], 1):zg} of {s['units']} in {s['stage']}" for s in stages if s["dead"]
    ]
    if stages:
        yield f"Dead units, mean over seeds: {', '.join(dead) or 'none'}."
