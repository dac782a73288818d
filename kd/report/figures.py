"""The drawings of a report, as SVG: learning curves, reliability, robustness, accuracy against
bytes.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from kd.report.conclusions import short

STUDENT, TEACHER, OTHER = "#1a66b0", "#c8501e", "#666666"
SPREAD = ("#1a66b0", "#c8501e", "#2a8c55", "#8a4fae", "#b08a00", "#666666")

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "kd",  # equal reports are equal files
}


class Canvas:
    """Axes side by side, and after the `with` their drawing in `svg`."""

    def __init__(self) -> None:
        self.svg, self.axes = "", []


@contextmanager
def canvas(
    columns: int, height: float = 3.1, width: float = 8.4, share_y: bool = False
) -> Iterator[Canvas]:
    """A figure of so many axes, in inches, drawn without a display."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        made = Canvas()
        made.axes = list(figure.subplots(1, columns, squeeze=False, sharey=share_y)[0])
        yield made
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        made.svg = file.getvalue()


def curves(content: dict[str, Any]) -> str | None:
    """Accuracy and loss over epochs: lines of the mean over seeds, bands from the least to the
    largest. None without rows.
    """
    found = content["curves"]
    if not found["evaluated"] and not found["train"]:
        return None
    with canvas(2) as made:
        left, right = made.axes
        split = content["split"]
        _band(left, found["train"], "accuracy", 100, OTHER, "training images")
        _band(left, found["evaluated"], "accuracy", 100, STUDENT, f"{split} images")
        if "teacher" in content:
            level = 100 * content["teacher"]["accuracy"]
            left.axhline(level, color=TEACHER, linestyle="--", label="teacher")
        left.set(title="accuracy, %", xlabel="epoch")
        low = min((100 * np.min(r["accuracy"]) for r in found["evaluated"]), default=0)
        left.set_ylim(max(0.0, low - 10), 101)
        left.legend(loc="lower right")
        _band(right, found["train"], "loss", 1, OTHER, "training loss")
        _band(right, found["evaluated"], "nll", 1, STUDENT, f"NLL of {split} images")
        right.set(title="loss, nats", xlabel="epoch", yscale="log")
        right.legend(loc="upper right")
        for axis in made.axes:
            axis.xaxis.get_major_locator().set_params(integer=True)
    return made.svg


def _band(axis: Any, rows: Sequence[dict], key: str, scale: float, color: str, label: str) -> None:
    rows = [row for row in rows if key in row]
    if not rows:
        return
    epoch = [row["epoch"] + 1 for row in rows]
    values = scale * np.array([row[key] for row in rows])
    mark = "." if len(rows) < 40 else None
    axis.plot(epoch, values.mean(axis=1), color=color, marker=mark, label=label)
    axis.fill_between(
        epoch, values.min(axis=1), values.max(axis=1), color=color, alpha=0.18, linewidth=0
    )


def reliability(content: dict[str, Any]) -> str:
    """Accuracy against confidence in bins, over how many answers each bin holds: of the student,
    scaled too, and its teacher.
    """
    found = content["calibration"]
    panels = [("student as trained", found, STUDENT)]
    if found["temperature"]:
        panels.append(("student, scaled", found["scaled"], STUDENT))
    if "teacher" in content:
        panels.append(("teacher", content["teacher"]["calibration"], TEACHER))
    with canvas(len(panels), 3.0, 2.8 * len(panels)) as made:
        for axis, (title, one, color) in zip(made.axes, panels, strict=True):
            bins = one["reliability"]
            count = np.array(bins["count"])
            points = [
                (c, a)
                for c, a in zip(bins["confidence"], bins["accuracy"], strict=True)
                if c is not None
            ]
            width = 1 / len(count)
            middle = (np.arange(len(count)) + 0.5) * width
            axis.bar(
                middle, count / count.sum(), 0.86 * width, color="#d9e2ec", label="share of answers"
            )
            axis.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
            axis.plot(
                *zip(*points, strict=True), color=color, marker="o", markersize=4, label="accuracy"
            )
            axis.set(title=title, xlabel="confidence", xlim=(0, 1), ylim=(0, 1.02))
            axis.set_aspect("equal")
        made.axes[0].legend(loc="upper left")
    return made.svg


def robustness(found: dict[str, Any]) -> str:
    """Accuracy over severities, a panel for each kind; severity 0 is the clean image."""
    with canvas(len(found["kinds"]), 2.3, share_y=True) as made:
        for axis, (kind, scores) in zip(made.axes, found["kinds"].items(), strict=True):
            for name, color in (("teacher", TEACHER), ("student", STUDENT)):
                if name in scores:
                    values = [found["clean"][name], *scores[name]]
                    axis.plot(100 * np.array(values), color=color, marker=".", label=name)
            axis.set(title=kind, xticks=range(6))
        made.axes[0].set_ylabel("accuracy, %")
        made.axes[0].legend(loc="lower left")
        made.axes[len(made.axes) // 2].set_xlabel("severity")
    return made.svg


def front(points: Sequence[dict[str, Any]]) -> str:
    """Accuracy with its interval against bytes on a logarithmic axis; a line through those that no
    other beats.
    """
    from matplotlib.transforms import ScaledTranslation

    with canvas(1, 3.4) as made:
        (axis,) = made.axes
        best = [p for p in points if p["front"]]
        axis.step(
            [p["bytes"] for p in best],
            [100 * p["accuracy"] for p in best],
            where="post",
            color="#bbbbbb",
            zorder=1,
        )
        there: dict[int, int] = {}
        for i, point in enumerate(points):
            color = SPREAD[i % len(SPREAD)]
            # Networks of equal size stand side by side.
            beside = there[point["bytes"]] = there.get(point["bytes"], -1) + 1
            moved = ScaledTranslation(beside / 7, 0, axis.figure.dpi_scale_trans)
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
                label=short(point["name"]),
                transform=axis.transData + moved,
            )
        # What stands beside its place does not set the limits.
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
    return made.svg
