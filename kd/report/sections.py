"""A report's content in the order in which it is read: tables, drawings, pictures and what they
mean.
"""

from collections.abc import Iterator
from typing import Any

from kd.report import figures, format, measured_sections, stored_sections
from kd.report.blocks import Block, Figure, Grid, Note, Points, Section, Table
from kd.report.conclusions import short


def sections(content: dict[str, Any]) -> Iterator[Section]:
    """All but the title and the conclusions."""
    runs = content["runs"]
    if len(runs) > 1:
        yield Section("The runs", _run_table(content))
    if len(content["points"]) > 1:
        yield Section("Accuracy against bytes", _front(content["points"]))
    for run in runs:
        level = 2
        if len(runs) > 1:
            level = 3
            yield Section(short(run["run"]), [Points(run["conclusions"])])
        for title, blocks in _of_run(run):
            yield Section(title, blocks, level)


def subtitle(runs: list[dict[str, Any]]) -> str:
    """What was evaluated on what."""
    first = runs[0]
    seeds = " and ".join(str(n) for n in sorted({len(run["seeds"]) for run in runs}))
    return (
        f"{first['examples']:,} {first['split']} images of {first['data']}, {seeds} "
        f"seed{'s' * (seeds != '1')}. Figures of a student are means over its seeds unless said "
        "otherwise."
    )


def _run_table(content: dict[str, Any]) -> list[Block]:
    first, *later = content["runs"]
    gains = [None, *content["pairs"]]
    head = "run|accuracy %|95 % interval|bytes|MACs|gain|95 % interval|McNemar p"
    lines: Grid = [format.cells(head)]
    for run, gain in zip([first, *later], gains, strict=True):
        value, low, high = run["interval_95"]
        cost = run["costs"]["student"]
        line = [
            short(run["run"]),
            format.percent(value),
            format.span(low, high),
            f"{cost['bytes']:,}",
            f"{cost['macs']:,}",
        ]
        if gain is None:
            line += ["", "", ""]
        else:
            line += [
                format.points(gain["value"]),
                format.span(gain["low"], gain["high"], True),
                format.p_value(gain["mcnemar_p"]),
            ]
        lines.append(line)
    note = (
        f"Gains are over {short(first['run'])}. Intervals are of the bootstrap over test images "
        "and seeds; McNemar's p is the median over pairs of seeds."
    )
    return [Table(lines), Note(note)]


def _front(points: list[dict[str, Any]]) -> list[Block]:
    lines: Grid = [["", "networks", "bytes", "MACs", "accuracy %", "95 % interval", "beaten"]]
    for p in points:
        numbers = [str(p["networks"]), f"{p['bytes']:,}", f"{p['macs']:,}"]
        lines.append(
            [
                short(p["name"]),
                *numbers,
                format.percent(p["accuracy"]),
                format.span(p["low"], p["high"]),
                "" if p["front"] else "yes",
            ]
        )
    note = (
        "Each dot is a network, or an ensemble with the bytes of all its members; bars are 95 % "
        "intervals by bootstrap over test images and seeds. The line joins those (filled) that no "
        "other beats: none is as accurate in fewer bytes. It goes by the means: networks whose "
        "intervals overlap may change places on other images."
    )
    return [Figure(figures.front(points), "accuracy against bytes"), Note(note), Table(lines)]


def _of_run(run: dict[str, Any]) -> Iterator[tuple[str, list[Block]]]:
    yield "Accuracy", stored_sections.accuracy(run)
    yield "Size and cost", stored_sections.costs(run)
    yield "Classes", stored_sections.classes(run)
    if run.get("mistakes"):
        title = "Where the student is wrong and its teacher right"
        yield title, stored_sections.mistakes(run)
    yield "Calibration", stored_sections.calibration(run)
    found = run["networks"]
    if found:
        if "robustness" in found:
            yield "Corrupted images", measured_sections.robustness(run)
        if "cka" in found:
            yield "Likeness of the stages (CKA)", measured_sections.likeness(found)
        yield "Use of the width", measured_sections.capacity(found)
    else:
        note = (
            "This report is from stored predictions alone (--stored): without mistakes as "
            "pictures, corrupted images, likeness of the stages, dead units and latency."
        )
        yield "Left out", [Note(note)]
    drawn = figures.curves(run)
    if drawn:
        note = Note("Lines are means over seeds, bands reach from the least to the largest seed.")
        yield "Learning curves", [Figure(drawn, "accuracy and loss over epochs"), note]
