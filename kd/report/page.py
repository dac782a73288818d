"""A report's content as Markdown and as one HTML file that opens offline: its pictures lie inside it."""

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from kd.report.content import COSTS, make_content
from kd.workdir import Workdir

STYLE = """body{font:16px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ccc}
td:first-child,th:first-child{text-align:left}ul.top{background:#eef3f8;padding:1rem 2rem}img{max-width:100%}"""

type Grid = list[list[str]]  # the first line is the head


def write(run: str, out: str | None, root: str = "runs") -> Path:
    """Writes `report.html`, `report.json` and `report.md`, by default into RUN/report; returns the page's path."""
    content = make_content(Workdir(run), root)
    folder = Path(out) if out else Path(run) / "report"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "report.md").write_text(markdown(content))
    page = folder / "report.html"
    page.write_text(as_html(content))
    return page


def markdown(content: dict[str, Any]) -> str:
    """The report without its pictures."""
    parts = [f"# {_title(content)}", _subtitle(content)]
    parts.append("\n".join(f"- {line}" for line in content["conclusions"]))
    for title, grid in _grids(content).items():
        head, *rows = ("| " + " | ".join(line) + " |" for line in _piped(grid))
        rule = "| --- |" + " ---: |" * (len(grid[0]) - 1)
        parts += [f"## {title}", "\n".join([head, rule, *rows])]
    return "\n\n".join(parts) + "\n"


def as_html(content: dict[str, Any]) -> str:
    """The whole page."""
    text = html.escape
    top = "".join(f"<li>{text(line)}</li>" for line in content["conclusions"])
    parts = [
        f"<h1>{text(_title(content))}</h1><p>{text(_subtitle(content))}</p><ul class=top>{top}</ul>"
    ]
    for title, (head, *rows) in _grids(content).items():
        lines = ["".join(f"<th>{text(c)}</th>" for c in head)]
        lines += ["".join(f"<td>{text(c)}</td>" for c in row) for row in rows]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        parts.append(f"<h2>{text(title)}</h2><table>{body}</table>")
    data = base64.b64encode(picture(content)).decode()
    parts.append(
        f'<h2>Learning curves and reliability</h2><img alt="learning curves, reliability" src="data:image/png;base64,{data}">'
    )
    head = f"<meta charset=utf-8><title>{text(_title(content))}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def picture(content: dict[str, Any]) -> bytes:
    """PNG of the accuracy over epochs, a line for each seed, and of the first seed's reliability."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    curves = content["curves"]
    if curves:
        accuracy = 100 * np.array([row["accuracy"] for row in curves])
        left.plot(
            [row["epoch"] + 1 for row in curves],
            accuracy,
            marker=".",
            label=[f"seed {seed}" for seed in content["seeds"]],
        )
        left.legend(fontsize="small")
    left.set(xlabel="epoch", ylabel=f"accuracy on {content['split']}, %")
    left.xaxis.get_major_locator().set_params(integer=True)
    bins = content["calibration"]["reliability_of_first_seed"]
    points = [
        (c, a, n)
        for c, a, n in zip(
            bins["confidence"], bins["accuracy"], bins["count"], strict=True
        )
        if n
    ]
    confidence, accuracy, count = np.array(points).T
    right.plot([0, 1], [0, 1], color="grey", linewidth=1)
    right.scatter(confidence, accuracy, 20 + 200 * count / count.sum())
    right.set(
        xlabel="confidence",
        ylabel="accuracy",
        xlim=(0, 1),
        ylim=(-0.03, 1.03),
        title="reliability of the first seed",
    )
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _title(content: dict[str, Any]) -> str:
    return f"Report of {content['run']}"


def _subtitle(content: dict[str, Any]) -> str:
    return f"{content['examples']} {content['split']} images, {len(content['seeds'])} seeds. Means over seeds unless said otherwise."


def _piped(grid: Grid) -> Grid:
    return [[cell.replace("|", "\\|") for cell in line] for line in grid]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _grids(content: dict[str, Any]) -> dict[str, Grid]:
    grids: dict[str, Grid] = {}
    lines = [["", "accuracy %", "95 % Wilson interval", "McNemar p against the teacher"]]  # fmt: skip
    taught = content.get("teacher")
    tests = taught["mcnemar_p"] if taught else [None] * len(content["seeds"])
    if taught:
        lines.append(_accuracy("teacher", taught["wilson_95"], None))
    for seed, found, p in zip(
        content["seeds"], content["wilson_95"], tests, strict=True
    ):
        lines.append(_accuracy(f"student, seed {seed}", found, p))
    grids["Accuracy"] = lines
    grids["Size and cost"] = [
        ["one network", *COSTS],
        *([who, *(f"{v:,}" for v in cost.values())] for who, cost in content["costs"].items()),
    ]  # fmt: skip
    found = content["calibration"]
    grids["Calibration"] = [["", "ECE %", "NLL", "Brier"], _calibrated("as trained", found)]  # fmt: skip
    if found["temperature"]:
        grids["Calibration"].append(
            _calibrated("temperature from held-out data", found["scaled"])
        )
    head = ["class", "images", "student %", "teacher %", "agreement %", "KL", ""]
    grids["Classes"] = [head, *(_class(row) for row in content["classes"])]
    return grids


def _accuracy(name: str, found: list[float], p: float | None) -> list[str]:
    value, low, high = (100 * v for v in found)
    return [name, f"{value:.2f}", f"[{low:.2f}, {high:.2f}]", "" if p is None else f"{p:.3g}"]  # fmt: skip


def _calibrated(name: str, found: dict[str, float]) -> list[str]:
    return [name, _percent(found["ece"]), f"{found['nll']:.4f}", f"{found['brier']:.4f}"]  # fmt: skip


def _class(row: dict[str, Any]) -> list[str]:
    shares = [_percent(row[k]) for k in ("accuracy", "teacher", "agreement")]
    kl = "" if row["kl"] is None else f"{row['kl']:.4f}"
    return [row["name"], str(row["count"]), *shares, kl, "worse" if row["worse"] else ""]  # fmt: skip
