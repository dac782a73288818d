"""Accuracy against bytes: the runs, their teachers and the runs that they are compared with."""

from collections.abc import Sequence
from typing import Any

from kd.files import escaping
from kd.report import comparison, format
from kd.report.blocks import Block, Figure, Grid, Note, Table
from kd.report.figures import PALETTE, canvas, size_axis
from kd.report.run import Run

TITLE = "Accuracy against bytes"
ORDER = 5


MARKERS = "os^Dv"
"""Signs of the networks; the next one where all colours were taken."""

LONGEST = 48
"""Characters of a name in the drawing."""


def compare(runs: Sequence[Run], contents: list[dict[str, Any]]) -> dict[str, Any]:
    """`points`: networks and ensembles, and whether another one beats them."""
    others = [gain["run"] for content in contents for gain in content["gains"].values() if gain]
    points = comparison.points(runs, others)
    best = {point.name for point in comparison.front(points)}
    return {"points": [{**point._asdict(), "front": point.name in best} for point in points]}


def show_all(content: dict[str, Any]) -> list[Block]:
    """The drawing and its numbers; nothing for a single network."""
    points = content["points"]
    if len(points) < 2:
        return []
    grid: Grid = [
        ["", "networks", "bytes", "MACs", "accuracy %", "95 % interval", "best for its size"]
    ]
    for p in points:
        grid.append(
            [
                format.short(p["name"]),
                str(p["networks"]),
                f"{p['bytes']:,}",
                f"{p['macs']:,}",
                format.percent(p["accuracy"]),
                format.span(p["low"], p["high"]),
                "yes" if p["front"] else "",
            ]
        )
    note = (
        "Each dot is a network, or an ensemble with the bytes of all its members; bars are 95 % "
        "intervals by a bootstrap over test images and seeds, with Student's t for seeds. The line "
        "joins the filled dots, which are the best for their size. It compares means: networks "
        "whose intervals overlap may swap on other images."
    )
    return [Figure(draw(points), "accuracy against bytes"), Note(note), Table(grid)]


def draw(points: Sequence[dict[str, Any]]) -> str:
    """Accuracy with its interval against bytes, on a logarithmic axis, and a line through the
    front.
    """
    with canvas(1, max(3.4, 0.24 * len(points))) as drawing:
        (axis,) = drawing.axes
        best = [p for p in points if p["front"]]
        axis.step(
            [p["bytes"] for p in best],
            [100 * p["accuracy"] for p in best],
            where="post",
            color="#bbbbbb",
            zorder=1,
        )
        nested: dict[int, int] = {}  # bars at one place become ever narrower, dots ever smaller
        for i, point in enumerate(points):
            color = PALETTE[i % len(PALETTE)]
            depth = nested[point["bytes"]] = nested.get(point["bytes"], -1) + 1
            shrink = 0.7**depth
            value, low, high = (100 * point[k] for k in ("accuracy", "low", "high"))
            axis.errorbar(
                point["bytes"],
                value,
                [[max(0.0, value - low)], [max(0.0, high - value)]],  # equal but for last bits
                color=color,
                marker=MARKERS[i // len(PALETTE) % len(MARKERS)],
                markersize=max(3, 9 * shrink),
                markerfacecolor=color if point["front"] else "white",
                capsize=max(1, 7 * shrink),
                elinewidth=max(1, 3 * shrink),
                capthick=1.2,
                linestyle="",
                label=_label(point["name"]),
                zorder=2 + depth,
            )
        sizes = [p["bytes"] for p in points]
        axis.set(
            xscale="log",
            xlabel="size of the weights",
            ylabel="accuracy, %",
            xlim=(min(sizes) / 2, 2 * max(sizes)),
        )
        size_axis(axis.xaxis)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return drawing.svg


def _label(name: str) -> str:
    """A run's name in the drawing, which has room for so much."""
    text = escaping.plain(format.short(name))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
