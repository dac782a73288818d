"""Accuracy of each class, and its distance from the teacher."""

from typing import Any

from kd.report import format
from kd.report.blocks import Block, Grid, Note, Table
from kd.report.fidelity import per_class
from kd.report.run import Run

TITLE = "Classes"
ORDER = 30

LONG = 20
"""Rows of a table that are shown; the others are folded."""


def measure(run: Run) -> dict[str, Any]:
    """`classes`: a row for each class."""
    names = run.result["class_names"]
    rows = per_class(run.logits, run.label, run.target)
    return {
        "classes": [
            {
                "name": names[row.label] if names else str(row.label),
                **row._asdict(),
                "worse": row.worse,
            }
            for row in rows
        ]
    }


def show(content: dict[str, Any]) -> list[Block]:
    """A table of the classes, those with the largest loss first."""
    rows = content["classes"]
    if "teacher" not in content:
        plain: Grid = [["class", "images", "accuracy %"]]
        plain += [[r["name"], f"{r['count']:,}", format.percent(r["accuracy"])] for r in rows]
        return folded(plain)
    rows = sorted(rows, key=lambda r: r["accuracy"] - r["teacher"])
    head = "class|images|student %|teacher %|loss|95 % interval|agreement %|KL, nats"
    grid: Grid = [[*format.cells(head), "against the teacher"]]
    for r in rows:
        low, high = r["loss_95"]
        grid.append(
            [
                r["name"],
                f"{r['count']:,}",
                format.percent(r["accuracy"]),
                format.percent(r["teacher"]),
                format.points(r["teacher"] - r["accuracy"]),
                format.span(low, high, True),
                format.percent(r["agreement"]),
                f"{r['kl']:z.3f}",
                _judged(low, r["worse"]),
            ]
        )
    note = (
        f"The largest loss comes first. Of these {len(rows)} intervals one in twenty misses by "
        "chance."
    )
    return [*folded(grid), Note(note)]


def _judged(low: float, worse: bool) -> str:
    """What an interval of the loss from `low` on says of a student that is worse or not."""
    if low > 0:
        return "significantly worse"
    return "worse" if worse else ""


def folded(grid: Grid) -> list[Block]:
    """A table of classes, of which a page hides all but the first."""
    if len(grid) <= LONG + 1:
        return [Table(grid)]
    rest = [grid[0], *grid[LONG + 1 :]]
    return [Table(grid[: LONG + 1]), Table(rest, f"the other {len(rest) - 1} classes")]
