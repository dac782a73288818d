"""Certificates of `kd verify`, where the run has them."""

from collections.abc import Iterator, Mapping
from typing import Any

from kd.report.blocks import Block, Figure, Note, Table
from kd.report.figures import PALETTE, canvas
from kd.report.run import Run
from kd.runs import certificates

TITLE = "Certificates"
ORDER = 65


def measure(run: Run) -> dict[str, Any]:
    """`certificates`: the counts of `verify.json`, if it is of the weights that the run has now."""
    stored = certificates.of_weights(run.workdir, run.result.get("weights"))
    if stored is None:
        return {}
    lists = ("statuses", "methods", "margins")
    networks = [
        {
            **network,
            "radii": [{k: v for k, v in r.items() if k not in lists} for r in network["radii"]],
        }
        for network in stored["networks"]
    ]
    kept = ("index", "examples", "norm", "unit", "conclusion", "agreement", "difference")
    known = {key: stored[key] for key in kept if key in stored}
    return {"certificates": {**known, "networks": networks}}


def show(content: dict[str, Any]) -> list[Block]:
    """The curves, the table and what they are."""
    measured = content.get("certificates")
    if measured is None:
        return []
    curves = Figure(draw(measured), "certified accuracy over the radius")
    blocks: list[Block] = [curves, Table(certificates.table(measured))]
    grids = (certificates.agreement(measured), certificates.difference(measured))
    blocks += [Table(rows) for rows in grids if rows]
    return [*blocks, Note(certificates.note(measured))]


def draw(measured: Mapping[str, Any]) -> str:
    """Certified accuracy over the radius, and the accuracy under attack as a dotted line."""
    with canvas(1) as drawing:
        (axis,) = drawing.axes
        for i, network in enumerate(measured["networks"]):
            radii = network["radii"]
            total = [sum(r[k] for k in ("proved", "refuted", "open")) for r in radii]
            color, x = PALETTE[i % len(PALETTE)], [r["radius"] for r in radii]
            proved = [100 * r["proved"] / n for r, n in zip(radii, total, strict=True)]
            held = [100 * (1 - r["refuted"] / n) for r, n in zip(radii, total, strict=True)]
            axis.plot(x, proved, color=color, marker=".", label=network["name"])
            axis.plot(x, held, color=color, linestyle=":")
        axis.set(
            xlabel=f"radius, {measured['unit']}",
            ylabel="certified; dotted: under attack, %",
            ylim=(0, 102),
        )
        axis.legend(loc="lower left")
    return drawing.svg


def conclude(content: dict[str, Any]) -> Iterator[str]:
    """Whether the student is easier to validate."""
    if content.get("certificates"):
        yield content["certificates"]["conclusion"]
