"""A report's content in the order in which it is read: tables, drawings, pictures and what they mean."""

from collections.abc import Iterator
from typing import Any

from kd.report import figures
from kd.report.blocks import (
    Block,
    Figure,
    Grid,
    Heat,
    Note,
    Pictures,
    Points,
    Section,
    Table,
)
from kd.report.conclusions import short

LONG = 20
"""Lines of a table from which it is folded, but for the first."""


def sections(content: dict[str, Any]) -> Iterator[Section]:
    """All but the title and the conclusions."""
    runs = content["runs"]
    if len(runs) > 1:
        yield Section("The runs", _run_table(content))
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
        f"{first['examples']:,} {first['split']} images of {first['data']}, {seeds} seed{'s' * (seeds != '1')}. "
        "Figures of a student are means over its seeds unless said otherwise."
    )


def _run_table(content: dict[str, Any]) -> list[Block]:
    first, *later = content["runs"]
    gains = [None, *content["pairs"]]
    lines: Grid = [["run", "accuracy %", "95 % interval", "bytes", "MACs", "gain", "95 % interval", "McNemar p"]]  # fmt: skip
    for run, gain in zip([first, *later], gains, strict=True):
        value, low, high = run["interval_95"]
        cost = run["costs"]["student"]
        line = [short(run["run"]), _percent(value), _span(low, high), f"{cost['bytes']:,}", f"{cost['macs']:,}"]  # fmt: skip
        if gain is None:
            line += ["", "", ""]
        else:
            line += [_points(gain["value"]), _span(gain["low"], gain["high"], True), _p(gain["mcnemar_p"])]  # fmt: skip
        lines.append(line)
    note = f"Gains are over {short(first['run'])}. Intervals are of the bootstrap over test images and seeds; McNemar's p is the median over pairs of seeds."
    return [Table(lines), Note(note)]


def _front(points: list[dict[str, Any]]) -> list[Block]:
    lines: Grid = [["", "networks", "bytes", "MACs", "accuracy %", "95 % interval", "beaten"]]  # fmt: skip
    for p in points:
        numbers = [str(p["networks"]), f"{p['bytes']:,}", f"{p['macs']:,}"]
        lines.append([short(p["name"]), *numbers, _percent(p["accuracy"]), _span(p["low"], p["high"]), "" if p["front"] else "yes"])  # fmt: skip
    note = (
        "Each dot is a network, or an ensemble with the bytes of all its members; bars are 95 % intervals by bootstrap over test images and "
        "seeds. The line joins those (filled) that no other beats: none is as accurate in fewer bytes."
    )
    return [Figure(figures.front(points), "accuracy against bytes"), Note(note), Table(lines)]  # fmt: skip


def _of_run(run: dict[str, Any]) -> Iterator[tuple[str, list[Block]]]:
    yield "Accuracy", _accuracy(run)
    yield "Size and cost", _costs(run)
    yield "Classes", _classes(run)
    if run.get("mistakes"):
        yield "Where the student is wrong and its teacher right", _mistakes(run)
    yield "Calibration", _calibration(run)
    found = run["networks"]
    if found:
        if "robustness" in found:
            yield "Corrupted images", _robustness(run)
        if "cka" in found:
            yield "Likeness of the stages", _likeness(found)
        yield "Use of the width", _capacity(found)
    else:
        yield "Left out", [Note("Mistakes as pictures, corrupted images, likeness of the stages, dead units and latency: this report is from stored predictions alone (--stored).")]  # fmt: skip
    drawn = figures.curves(run)
    if drawn:
        note = "Lines are means over seeds, bands reach from the least to the largest seed."
        yield "Learning curves", [Figure(drawn, "accuracy and loss over epochs"), Note(note)]  # fmt: skip


def _accuracy(run: dict[str, Any]) -> list[Block]:
    taught = run.get("teacher")
    lines: Grid = [["", "accuracy %", "95 % interval", "McNemar p against the teacher"]]
    tests: list[Any] = [None] * len(run["seeds"])
    if taught:
        tests = taught["mcnemar_p"]
        m = len(taught["members"])
        name = f"teacher, ensemble of {m}" if m > 1 else "teacher"
        lines.append([name, *_share(taught["wilson_95"]), ""])
    lines.append(["student, all seeds", *_share(run["interval_95"]), ""])
    for seed, found, p in zip(run["seeds"], run["wilson_95"], tests, strict=True):
        lines.append([f"student, seed {seed}", *_share(found), _p(p)])
    blocks: list[Block] = [Table(lines)]
    differences: Grid = [["difference", "points", "95 % interval", "median McNemar p"]]
    if taught:
        loss = taught["loss"]
        differences.append(["teacher less student", _points(loss["value"]), _span(loss["low"], loss["high"], True), _p(_median(tests))])  # fmt: skip
    for name, gain in run["gains"].items():
        if gain:
            differences.append([f"student less {name}", _points(gain["value"]), _span(gain["low"], gain["high"], True), _p(gain["mcnemar_p"])])  # fmt: skip
    if len(differences) > 1:
        blocks.append(Table(differences))
    note = (
        "One network's interval is Wilson's; that of all seeds and those of differences are of the paired bootstrap over test images and seeds. "
        "McNemar's test asks of two networks whether they are right equally often; nothing is corrected for asking several times."
    )
    return [*blocks, Note(note)]


def _costs(run: dict[str, Any]) -> list[Block]:
    found = run["networks"]
    head = ["one network", "parameters", "bytes", "MACs"]
    lines: Grid = [[*head, "latency, ms"] if found else head]
    for name, cost in run["costs"].items():
        line = [name, *(f"{cost[k]:,}" for k in ("parameters", "bytes", "macs"))]
        lines.append([*line, f"{found['latency_ms'][name]:.3f}"] if found else line)
    note = "Bytes are those of the weights as they are trained, float32."
    if found:
        machine = found["hardware"]
        note += f" Latency is the median of 50 calls with one image on this machine ({machine['device']}, {machine['cores']} cores), not on a target."  # fmt: skip
    return [Table(lines), Note(note)]


def _classes(run: dict[str, Any]) -> list[Block]:
    rows = run["classes"]
    if "teacher" not in run:
        lines = [["class", "images", "accuracy %"]]
        lines += [[r["name"], f"{r['count']:,}", _percent(r["accuracy"])] for r in rows]
        return _folded(lines)
    rows = sorted(rows, key=lambda r: r["accuracy"] - r["teacher"])
    lines = [["class", "images", "student %", "teacher %", "loss", "95 % interval", "agreement %", "KL, nats", ""]]  # fmt: skip
    for r in rows:
        low, high = r["loss_95"]
        verdict = "worse, shown" if low > 0 else "worse" if r["worse"] else ""
        loss = _points(r["teacher"] - r["accuracy"])
        lines.append([r["name"], f"{r['count']:,}", _percent(r["accuracy"]), _percent(r["teacher"]), loss, _span(low, high, True), _percent(r["agreement"]), f"{r['kl']:.3f}", verdict])  # fmt: skip
    note = (
        "The largest loss comes first. Agreement is the share of images on which student and teacher give the same answer; KL is of the "
        f"student's probabilities from the teacher's. Of {len(rows)} intervals one in twenty misses by chance."
    )
    return [*_folded(lines), Note(note)]


def _folded(lines: Grid) -> list[Block]:
    if len(lines) <= LONG + 1:
        return [Table(lines)]
    rest = [lines[0], *lines[LONG + 1 :]]
    return [Table(lines[: LONG + 1]), Table(rest, f"the other {len(rest) - 1} classes")]


def _mistakes(run: dict[str, Any]) -> list[Block]:
    seeds = len(run["seeds"])
    note = Note(
        f"Test images that the teacher gets right and the student wrong, of the classes with the largest loss. Under each: the wrong answer, in how many of {seeds} seeds, and the image's place in the test set."
        if seeds > 1
        else "Test images that the teacher gets right and the student wrong, of the classes with the largest loss. Under each: the wrong answer and the image's place in the test set."
    )
    lines: list[Block] = [note]
    for row in run["mistakes"]:
        pictures = [
            (i["png"], f"{i['student']}{f' ({i["wrong"]} of {seeds})' if seeds > 1 else ''}, #{i['index']}")
            for i in row["images"]
        ]  # fmt: skip
        lines.append(Pictures(row["name"], pictures))
    return lines


def _calibration(run: dict[str, Any]) -> list[Block]:
    found = run["calibration"]
    line = lambda name, c: [name, _percent(c["ece"]), f"{c['nll']:.4f}", f"{c['brier']:.4f}", _points(c["excess"])]  # fmt: skip
    lines: Grid = [["", "ECE %", "NLL, nats", "Brier", "confidence less accuracy"]]
    if "teacher" in run:
        lines.append(line("teacher", run["teacher"]["calibration"]))
    lines.append(line("student as trained", found))
    if found["temperature"]:
        mean = sum(found["temperature"]) / len(found["temperature"])
        lines.append(line(f"student at temperature {mean:.3f}", found["scaled"]))
        note = "The temperature is fitted for each seed on held-out training images, which neither trained nor evaluate it."  # fmt: skip
    else:
        note = "No temperature was fitted, for the run kept no training images for it: config.validation = 0.1 would."  # fmt: skip
    note += " ECE is over 15 bins of equal width; where the line of a diagram lies below the diagonal, the network is too sure of itself."
    return [Table(lines), Figure(figures.reliability(run), "reliability diagrams"), Note(note)]  # fmt: skip


def _robustness(run: dict[str, Any]) -> list[Block]:
    found = run["networks"]["robustness"]
    names = [n for n in ("student", "teacher") if n in found["clean"]]
    severities = [str(i) for i in range(1, 6)]
    lines: Grid = [["accuracy %", "clean", *severities, "mean"]]
    for kind, scores in found["kinds"].items():
        for name in names:
            cells = [_percent(v) for v in [found["clean"][name], *scores[name], sum(scores[name]) / len(scores[name])]]  # fmt: skip
            lines.append([f"{kind}, {name}", *cells])
    amounts: Grid = [["severity", *severities]]
    for kind, scores in found["kinds"].items():
        amounts.append([f"{kind}: {scores['amount']}", *(f"{v:g}" for v in scores["amounts"])])  # fmt: skip
    note = (
        f"On {found['images']:,} test images. Kinds and severities are those of CIFAR-10-C (Hendrycks and Dietterich 2019), pixel values being 0 to 1; "
        "0 in the drawing is the clean image."
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


def _likeness(found: dict[str, Any]) -> list[Block]:
    cka = found["cka"]
    heat = Heat("student ↓ teacher →", cka["student"], cka["teacher"], cka["values"])
    note = (
        f"Linear CKA (Kornblith et al. 2019, unbiased HSIC) on {found['images']:,} test images: 1 is the same representation up to rotation and scale, 0 an "
        "unrelated one. Means over all pairs of a student's seed and a teacher."
    )
    return [heat, Note(note)]


def _capacity(found: dict[str, Any]) -> list[Block]:
    lines: Grid = [["stage", "units", "dead", "effective rank", "rank, % of units"]]
    for who, stages in found["capacity"].items():
        for s in stages:
            share = f"{100 * s['rank'] / s['units']:.1f}"
            lines.append([f"{who}, {s['stage']}", f"{s['units']:,}", f"{s['dead']:g}", f"{s['rank']:.1f}", share])  # fmt: skip
    note = (
        f"On {found['images']:,} test images. A unit (a channel, where the stage is a map) is dead where it says the same of every image; the effective rank (Roy and "
        "Vetterli 2007) is how many directions of equal strength would spread as much. A low share says that the stage could be narrower."
    )
    return [Table(lines), Note(note)]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _points(value: float) -> str:
    """With its sign, and no sign of zero that is the rest of a rounding."""
    return f"{round(100 * value, 2) + 0.0:+.2f}"


def _span(low: float, high: float, sign: bool = False) -> str:
    told = _points if sign else _percent
    return f"[{told(low)}, {told(high)}]"


def _share(found: list[float]) -> list[str]:
    value, low, high = found
    return [_percent(value), _span(low, high)]


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return (
        ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    )
