"""Accuracy against bytes: the runs, their teachers and the runs that they are compared with."""

from collections.abc import Sequence
from typing import Any

from kd.files import escaping
from kd.report import comparison, format
from kd.report.blocks import Block, Figure, Grid, Note, Table
from kd.report.figures import PALETTE, canvas
from kd.report.run import Run

TITLE = "Accuracy against bytes"
ORDER = 5


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
    grid: Grid = [["", "networks", "bytes", "MACs", "accuracy %", "95 % interval", "beaten"]]
    for p in points:
        grid.append(
            [
                format.short(p["name"]),
                str(p["networks"]),
                f"{p['bytes']:,}",
                f"{p['macs']:,}",
                format.percent(p["accuracy"]),
                format.span(p["low"], p["high"]),
                "" if p["front"] else "yes",
            ]
        )
    note = (
        "Each dot is a network, or an ensemble with the bytes of all its members; bars are 95 % "
        "intervals by bootstrap over test images and seeds. The line joins the filled dots, which "
        "no other network beats: none is as accurate in fewer bytes. It compares means: networks "
        "whose intervals overlap may swap on other images."
    )
    return [Figure(draw(points), "accuracy against bytes"), Note(note), Table(grid)]


def draw(points: Sequence[dict[str, Any]]) -> str:
    """Accuracy with its interval against bytes, on a logarithmic axis, and a line through the
    front.
    """
    from matplotlib.transforms import ScaledTranslation

    with canvas(1, 3.4) as drawing:
        (axis,) = drawing.axes
        best = [p for p in points if p["front"]]
        axis.step(
            [p["bytes"] for p in best],
            [100 * p["accuracy"] for p in best],
            where="post",
            color="#bbbbbb",
            zorder=1,
        )
        columns: dict[int, int] = {}  # networks of equal size are drawn side by side
        for i, point in enumerate(points):
            color = PALETTE[i % len(PALETTE)]
            column = columns[point["bytes"]] = columns.get(point["bytes"], -1) + 1
            shift = ScaledTranslation(column / 7, 0, axis.figure.dpi_scale_trans)
            value, low, high = (100 * point[k] for k in ("accuracy", "low", "high"))
            axis.errorbar(
                point["bytes"],
                value,
                [[value - low], [high - value]],
                color=color,
                marker="o",
                markersize=7,
                markerfacecolor=color if point["front"] else "white",
                capsize=3,
                linestyle="",
                label=_label(point["name"]),
                transform=axis.transData + shift,
            )
        # Shifted dots do not set the limits, so they are set here.
        sizes = [p["bytes"] for p in points]
        low = 100 * min(p["low"] for p in points)
        high = 100 * max(p["high"] for p in points)
        room = max(0.06 * (high - low), 0.1)
        axis.set(
            xscale="log",
            xlabel="bytes of the weights",
            ylabel="accuracy, %",
            xlim=(min(sizes) / 2, 2.5 * max(sizes)),
            ylim=(low - room, high + room),
        )
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return drawing.svg


def _label(name: str) -> str:
    """A run's name in the drawing, which has room for so much."""
    text = escaping.plain(format.short(name))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
