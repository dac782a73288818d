"""What a report shows of one run's stored predictions: a function for each section, from the
content of `kd.report.stored`.
"""

import statistics
from typing import Any

from kd.report import figures, format
from kd.report.blocks import Block, Figure, Grid, Note, Pictures, Table

LONG = 20
"""Lines of a table from which it is folded, but for the first."""


def accuracy(run: dict[str, Any]) -> list[Block]:
    taught = run.get("teacher")
    lines: Grid = [["", "accuracy %", "95 % interval"]]
    tests: list[Any] = [None] * len(run["seeds"])
    if taught:
        lines[0].append("McNemar p against the teacher")
        tests = taught["mcnemar_p"]
        m = taught["networks"]
        name = f"teacher, ensemble of {m}" if m > 1 else "teacher"
        if taught["paired"]:
            name = "teachers, one for each student"
        lines.append([name, *format.share(taught["interval_95"]), ""])
    last = [""] if taught else []
    lines.append(["student, all seeds", *format.share(run["interval_95"]), *last])
    for seed, found, p in zip(run["seeds"], run["wilson_95"], tests, strict=True):
        last = [format.p_value(p)] if taught else []
        lines.append([f"student, seed {seed}", *format.share(found), *last])
    blocks: list[Block] = [Table(lines)]
    differences: Grid = [["difference", "points", "95 % interval", "median McNemar p"]]
    if taught:
        loss = taught["loss"]
        differences.append(
            [
                "teacher less student",
                format.points(loss["value"]),
                format.span(loss["low"], loss["high"], True),
                format.p_value(statistics.median(tests)),
            ]
        )
    for name, gain in run["gains"].items():
        if gain:
            differences.append(
                [
                    f"student less {name}",
                    format.points(gain["value"]),
                    format.span(gain["low"], gain["high"], True),
                    format.p_value(gain["mcnemar_p"]),
                ]
            )
    if len(differences) > 1:
        blocks.append(Table(differences))
    note = (
        "One network's interval is Wilson's; that of all seeds and those of differences are of the "
        "paired bootstrap over test images and seeds. McNemar's test asks of two networks whether "
        "they are right equally often; nothing is corrected for asking several times."
    )
    return [*blocks, Note(note)]


def costs(run: dict[str, Any]) -> list[Block]:
    found = run["networks"]
    head = ["one network", "parameters", "bytes", "MACs"]
    lines: Grid = [[*head, "latency, ms"] if found else head]
    for name, cost in run["costs"].items():
        line = [name, *(f"{cost[k]:,}" for k in ("parameters", "bytes", "macs"))]
        if found:  # teachers of several architectures are not run
            time = found["latency_ms"].get(name)
            line.append("" if time is None else f"{time:.3f}")
        lines.append(line)
    note = "Bytes are those of the weights as they are trained, float32."
    if found:
        machine = found["hardware"]
        note += (
            " Latency is the median of 50 calls with one image on this machine "
            f"({machine['device']}, {machine['cores']} cores), not on a target."
        )
    return [Table(lines), Note(note)]


def classes(run: dict[str, Any]) -> list[Block]:
    rows = run["classes"]
    if "teacher" not in run:
        plain: Grid = [["class", "images", "accuracy %"]]
        plain += [[r["name"], f"{r['count']:,}", format.percent(r["accuracy"])] for r in rows]
        return _folded(plain)
    rows = sorted(rows, key=lambda r: r["accuracy"] - r["teacher"])
    head = "class|images|student %|teacher %|loss|95 % interval|agreement %|KL, nats|"
    lines: Grid = [format.cells(head)]
    for r in rows:
        low, high = r["loss_95"]
        verdict = "worse, shown" if low > 0 else "worse" if r["worse"] else ""
        loss = format.points(r["teacher"] - r["accuracy"])
        lines.append(
            [
                r["name"],
                f"{r['count']:,}",
                format.percent(r["accuracy"]),
                format.percent(r["teacher"]),
                loss,
                format.span(low, high, True),
                format.percent(r["agreement"]),
                f"{r['kl']:.3f}",
                verdict,
            ]
        )
    note = (
        "The largest loss comes first. Agreement is the share of images on which student and "
        "teacher give the same answer; KL is of the student's probabilities from the teacher's. Of "
        f"{len(rows)} intervals one in twenty misses by chance."
    )
    return [*_folded(lines), Note(note)]


def _folded(lines: Grid) -> list[Block]:
    if len(lines) <= LONG + 1:
        return [Table(lines)]
    rest = [lines[0], *lines[LONG + 1 :]]
    return [Table(lines[: LONG + 1]), Table(rest, f"the other {len(rest) - 1} classes")]


def mistakes(run: dict[str, Any]) -> list[Block]:
    seeds = len(run["seeds"])
    votes = f", in how many of {seeds} seeds," if seeds > 1 else ""
    note = (
        "Test images that the teacher gets right and the student wrong, of the classes with the "
        f"largest loss. Under each: the wrong answer{votes} and the image's place in the test set."
    )
    lines: list[Block] = [Note(note)]
    for row in run["mistakes"]:
        pictures = []
        for image in row["images"]:
            votes = f" ({image['wrong']} of {seeds})" if seeds > 1 else ""
            told = f"{image['student']}{votes}, #{image['index']}"
            pictures.append((image["png"], told))
        lines.append(Pictures(row["name"], pictures))
    return lines


def calibration(run: dict[str, Any]) -> list[Block]:
    found = run["calibration"]
    line = lambda name, c: [
        name,
        format.percent(c["ece"]),
        f"{c['nll']:.4f}",
        f"{c['brier']:.4f}",
        format.points(c["excess"]),
    ]
    lines: Grid = [["", "ECE %", "NLL, nats", "Brier", "confidence less accuracy"]]
    if "teacher" in run:
        lines.append(line("teacher", run["teacher"]["calibration"]))
    lines.append(line("student as trained", found))
    if found["temperature"]:
        mean = sum(found["temperature"]) / len(found["temperature"])
        lines.append(line(f"student at temperature {mean:.3f}", found["scaled"]))
        note = (
            "The temperature is fitted for each seed on held-out training images, which neither "
            "trained nor evaluate it."
        )
    else:
        note = (
            "No temperature was fitted, for the run kept no training images for it: "
            "config.validation = 0.1 would."
        )
    note += (
        " ECE is over 15 bins of equal width; where the line of a diagram lies below the "
        "diagonal, the network is too sure of itself."
    )
    return [Table(lines), Figure(figures.reliability(run), "reliability diagrams"), Note(note)]
