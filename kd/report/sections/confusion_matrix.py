"""The confusion matrix of student and teacher: which classes are taken for which."""

from typing import Any

import numpy as np

from kd.files.escaping import plain
from kd.metrics import classes
from kd.report import figures, format
from kd.report.blocks import Block, Figure, Grid, Heat, Note, Table
from kd.report.run import Run

TITLE = "Confusion matrix"
ORDER = 33

NUMBERED = 12
"""Up to so many classes the numbers are written into the cells."""

NAMED = 40
"""Up to so many classes the axes have the classes' names."""

STORED = 200
"""Up to so many classes report.json has the matrix; of more, its largest entries alone."""

PAIRS = 12
"""Confusions in the table."""


def measure(run: Run) -> dict[str, Any]:
    """`confusion`: fractions of the images of each class, [label][answer], mean over networks."""
    networks = {"student": run.logits} | ({} if run.target is None else {"teacher": run.target})
    shares = {name: _shares(logits, run.label) for name, logits in networks.items()}
    c, names = run.logits.shape[-1], run.result["class_names"]
    name_of = lambda k: names[k] if names else str(k)
    beside = shares["student"] * (1 - np.eye(c))
    order = np.argsort(-beside, axis=None, kind="stable")[:PAIRS]
    pairs = [
        {
            "label": name_of(label),
            "answer": name_of(answer),
            **{name: float(share[label, answer]) for name, share in shares.items()},
        }
        for label, answer in zip(*np.unravel_index(order, beside.shape), strict=True)
        if beside[label, answer] > 0
    ]
    content: dict[str, Any] = {"pairs": pairs}
    if c <= STORED:
        content |= {"classes": [name_of(k) for k in range(c)]}
        content |= {name: np.round(share, 6).tolist() for name, share in shares.items()}
    return {"confusion": content}


def _shares(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Of the images of each class the fraction with each answer, [c, c]; 0 without images."""
    matrix = classes.confusion(logits, label).reshape(-1, *[logits.shape[-1]] * 2).sum(0)
    return matrix / np.maximum(matrix.sum(-1, keepdims=True), 1)


def show(content: dict[str, Any]) -> list[Block]:
    """A picture of both matrices, their numbers, and the commonest confusions."""
    confusion = content["confusion"]
    networks = [name for name in ("student", "teacher") if name in content or name == "student"]
    blocks: list[Block] = []
    if "classes" in confusion:
        shares = {name: np.array(confusion[name]) for name in networks}
        blocks.append(Figure(draw(shares, confusion["classes"]), "the confusion matrices"))
        text = "Each row is a class, and shows which classes its images are taken for"
        text += ", in per cent" * (len(confusion["classes"]) <= NUMBERED)
        text += ": on the diagonal those that are right. Small shares are drawn darker than in "
        blocks.append(Note(f"{text}proportion."))
    if confusion["pairs"]:
        grid: Grid = [["commonest confusions", *(f"{name}: share %" for name in networks)]]
        for pair in confusion["pairs"]:
            shown = [format.percent(pair[name]) for name in networks]
            grid.append([f"{pair['label']} taken for {pair['answer']}", *shown])
        blocks.append(Table(grid))
    if "classes" in confusion and len(confusion["classes"]) <= NUMBERED:
        for name in networks:
            blocks.append(_numbers(name, confusion))
    return blocks


def _numbers(name: str, confusion: dict[str, Any]) -> Heat:
    """The matrix as a folded table; a picture is not read by machines, nor in Markdown."""
    names = confusion["classes"]
    return Heat(f"{name}: class", names, names, confusion[name], f"the numbers of the {name}")


def draw(shares: dict[str, np.ndarray], names: list[str]) -> str:
    """The matrices beside each other, as SVG.

    Args:
      shares: of each network, [c, c].
      names: of the classes, [c].
    """
    c = len(names)
    longest = max(map(len, names)) if c <= NAMED else 0
    height = 3.9 + min(longest, 24) * 0.05
    width = 8.4 if len(shares) > 1 else 4.8
    with figures.canvas(len(shares), height, width, share_y=True) as canvas:
        from matplotlib.colors import PowerNorm

        for axes, (name, share) in zip(canvas.axes, shares.items(), strict=True):
            axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
            axes.set_title(name)
            axes.set_xlabel("answer")
            axes.grid(visible=False)
            ticks = range(c) if c <= NAMED else range(0, c, 10 * -(-c // 100))
            shown = [plain(names[k])[:24] if c <= NAMED else str(k) for k in ticks]
            size = 8 if c <= 15 else 6
            turned = 90 if longest > 2 else 0
            axes.set_xticks(list(ticks), shown, rotation=turned, fontsize=size)
            axes.set_yticks(list(ticks), shown, fontsize=size)
            for (i, j), value in np.ndenumerate(share) if c <= NUMBERED else ():
                if value >= 0.005:
                    colour = "white" if value > 0.35 else "#1c1f23"
                    text = f"{100 * value:z.0f}"
                    axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
        canvas.axes[0].set_ylabel("class")
    return canvas.svg
