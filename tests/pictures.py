"""Draws the README's picture from published results: `python tests/pictures.py`.

The numbers are those that `kd table` prints. They are also stored in the picture's file, so that
pictures_test.py can say when it is out of date.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

PATH = ROOT / "docs/pictures/labels.png"
LINES = {
    "ensemble of five teachers": ("#6b7280", "o", "ensemble of teachers"),
    "distilled student": ("#2563eb", "o", "student, distilled"),
    "student from labels": ("#d97706", "s", "student, from labels only"),
}
"""Colour, marker and label of each row of the experiment that is drawn."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """A table of an experiment, drawn row by row over its columns."""

    experiment: str
    title: str


PANELS = (
    Panel("experiments/labels.py", "Digits, student of 1,210 parameters"),
    Panel("experiments/fashion_mnist_labels.py", "Fashion-MNIST, student of 25,450"),
)


def numbers(panel: Panel) -> dict[str, list[list[float]]]:
    """[labelled images, mean, standard deviation] of each column, by row."""
    from kd.tables import experiment, gather, plan, published

    loaded = experiment.load(str(ROOT / panel.experiment))
    runs = plan.make(loaded, os.devnull)
    content = published.read(loaded.published)
    entries = gather.gather(loaded, runs, content, tell=lambda line: None).entries[0]
    rows: dict[str, list[list[float]]] = {}
    for entry in entries:
        if entry.cell.row in LINES:
            count = float("".join(c for c in entry.cell.column if c.isdigit()))
            point = [count, round(entry.mean, 6), round(entry.std or 0.0, 6)]
            rows.setdefault(entry.cell.row, []).append(point)
    return rows


def stored(path: Path = PATH) -> Any:
    """The numbers that a picture was drawn from."""
    from PIL import Image

    with Image.open(path) as image:
        return json.loads(image.info["Description"])


def draw(path: Path = PATH) -> None:
    """Writes the picture, with its numbers in its description."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    data = {panel.experiment: numbers(panel) for panel in PANELS}
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(PANELS), squeeze=False)[0]
    for axis, panel in zip(axes, PANELS, strict=True):
        _panel(axis, panel, data[panel.experiment])
    axes[0].legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=200, metadata={"Description": json.dumps(data), "Software": None})


def _panel(axis: Any, panel: Panel, rows: dict[str, list[list[float]]]) -> None:
    for row, (colour, marker, label) in LINES.items():
        x, mean, std = zip(*rows[row], strict=True)
        style = dict(color=colour, marker=marker, linestyle="--" if "ensemble" in row else "-")
        axis.errorbar(x, mean, std, label=label, capsize=3, linewidth=2, **style)
    axis.set_xscale("log", base=2)
    counts = [point[0] for point in next(iter(rows.values()))]
    axis.set_xticks(counts, [f"{count:,.0f}" for count in counts])
    axis.minorticks_off()
    axis.set_title(panel.title, loc="left", fontsize=12)
    axis.set_xlabel("labelled training images")
    axis.set_ylabel("test accuracy (%)")
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    draw()
