"""What a report shows of running a run's networks: a function for each section, from the content of
`kd.report.measured`.
"""

from typing import Any

from kd.report import figures, format
from kd.report.blocks import Block, Figure, Grid, Heat, Note, Pictures, Table


def robustness(run: dict[str, Any]) -> list[Block]:
    found = run["networks"]["robustness"]
    names = [n for n in ("student", "teacher") if n in found["clean"]]
    severities = [str(i) for i in range(1, 6)]
    lines: Grid = [["accuracy %", "clean", *severities, "mean"]]
    for kind, scores in found["kinds"].items():
        for name in names:
            cells = [
                format.percent(v)
                for v in [
                    found["clean"][name],
                    *scores[name],
                    sum(scores[name]) / len(scores[name]),
                ]
            ]
            lines.append([f"{kind}, {name}", *cells])
    amounts: Grid = [["severity", *severities]]
    for kind, scores in found["kinds"].items():
        amounts.append([f"{kind}: {scores['amount']}", *(f"{v:.2f}" for v in scores["amounts"])])
    note = (
        f"On {found['images']:,} test images. Kinds and severities are those of CIFAR-10-C "
        "(Hendrycks and Dietterich 2019), pixel values being 0 to 1; 0 in the drawing is the clean "
        "image."
    )
    blocks: list[Block] = [
        Figure(figures.robustness(found), "accuracy over severities"),
        Note(note),
        Table(lines),
        Table(amounts),
    ]
    labels = ["clean", *severities]
    for kind, pictures in (run.get("corrupted") or {}).items():
        blocks.append(Pictures(kind, list(zip(pictures, labels, strict=True))))
    return blocks


def likeness(found: dict[str, Any]) -> list[Block]:
    cka = found["cka"]
    heat = Heat("student ↓ teacher →", cka["student"], cka["teacher"], cka["values"])
    note = (
        f"Linear CKA (Kornblith et al. 2019, unbiased HSIC) on {found['images']:,} test images: 1 "
        "is the same representation up to rotation and scale, 0 an unrelated one. Means over all "
        "pairs of a student's seed and a teacher."
    )
    return [heat, Note(note)]


def capacity(found: dict[str, Any]) -> list[Block]:
    lines: Grid = [["stage", "units", "dead", "effective rank", "rank, % of units"]]
    for who, stages in found["capacity"].items():
        for s in stages:
            share = f"{100 * s['rank'] / s['units']:.1f}"
            lines.append(
                [
                    f"{who}, {s['stage']}",
                    f"{s['units']:,}",
                    f"{round(s['dead'], 1):g}",
                    f"{s['rank']:.1f}",
                    share,
                ]
            )
    note = (
        f"On {found['images']:,} test images. A unit (a channel, where the stage is a map) is dead "
        "where it says the same of every image; the effective rank (Roy and Vetterli 2007) is how "
        "many directions of equal strength would spread as much. A low share says that the stage "
        "could be narrower."
    )
    return [Table(lines), Note(note)]
