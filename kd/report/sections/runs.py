"""The runs of the report, the later ones compared with the first."""

from collections.abc import Sequence
from typing import Any

from kd.report import format
from kd.report.blocks import Block, Grid, Note, Table
from kd.report.run import Run
from kd.report.significance import difference

TITLE = "The runs"
ORDER = 0


def compare(runs: Sequence[Run], contents: list[dict[str, Any]]) -> dict[str, Any]:
    """`pairs`: the accuracy that each later run gains over the first."""
    first, *later = runs
    pairs = [{"run": str(run.workdir), **difference(run.right, first.right)} for run in later]
    return {"pairs": pairs}


def show_all(content: dict[str, Any]) -> list[Block]:
    """A table of the runs; nothing for a single one."""
    first, *later = content["runs"]
    if not later:
        return []
    gains = [None, *content["pairs"]]
    head = "run|accuracy %|95 % interval|bytes|MACs|gain|95 % interval|median p-value"
    grid: Grid = [format.cells(head)]
    for run, gain in zip([first, *later], gains, strict=True):
        value, low, high = run["interval_95"]
        cost = run["costs"]["student"]
        row = [
            format.short(run["run"]),
            format.percent(value),
            format.span(low, high),
            f"{cost['bytes']:,}",
            f"{cost['macs']:,}",
        ]
        row += ["", "", ""] if gain is None else format.gain(gain)
        grid.append(row)
    note = (
        f"Gains are over {format.short(first['run'])}. Intervals are from the bootstrap over test "
        "images and seeds, with Student's t for seeds."
    )
    return [Table(grid), Note(note)]
