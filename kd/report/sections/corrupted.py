"""Accuracy on corrupted images, and what they look like."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from kd.report import format
from kd.report.blocks import Block, Figure, Grid, Note, Pictures, Table
from kd.report.figures import STUDENT, TEACHER, canvas
from kd.report.run import Run

TITLE = "Corrupted images"
ORDER = 60


def measure(run: Run) -> dict[str, Any]:
    """`robustness` of the networks, and `corrupted`, pictures of the corruptions."""
    if run.networks is None:
        return {}
    from kd.report.pictures import corrupted
    from kd.robustness.corruptions import KINDS, SEVERITIES

    networks = run.networks
    content: dict[str, Any] = {"corrupted": corrupted(networks.raw([0])[0])}
    index = networks.spread(networks.count(0.8, passes=1 + len(KINDS) * SEVERITIES))
    image = networks.raw(index)
    if image.dtype == np.uint8 and image.ndim == 4:  # corruptions are defined for 8-bit pixels
        label = networks.dataset.test.label[index]
        content["networks"] = {
            "robustness": robustness(networks.networks, image, label, run.reduce)
        }
    return content


def robustness(
    networks: Mapping[str, Any],
    image: np.ndarray,
    label: np.ndarray,
    reduce: Callable[[np.ndarray], np.ndarray],
) -> dict[str, Any]:
    """Accuracy on corrupted images: the mean over the student's seeds, and that of the target that
    `reduce` makes of the teacher's members.
    """
    import jax

    from kd.robustness.corruptions import KINDS, SEVERITIES, corrupt

    def score(picture: np.ndarray) -> dict[str, float]:
        accuracies = {}
        for name, network in networks.items():
            logits = network.logits(picture)
            if name == "teacher":
                logits = reduce(logits)
            accuracies[name] = float(np.mean(logits.argmax(-1) == label))
        return accuracies

    kinds: dict[str, Any] = {}
    for kind, corruption in KINDS.items():
        scores = [
            score(np.asarray(corrupt(jax.device_put(image), kind, severity)))
            for severity in range(1, SEVERITIES + 1)
        ]
        kinds[kind] = {
            "amount": corruption.unit,
            "amounts": list(corruption.amounts),
            **{name: [s[name] for s in scores] for name in networks},
        }
    mean = {name: float(np.mean([kind[name] for kind in kinds.values()])) for name in networks}
    return {"images": len(label), "clean": score(image), "mean": mean, "kinds": kinds}


def _robustness_of(content: dict[str, Any]) -> dict[str, Any] | None:
    return (content["networks"] or {}).get("robustness")


def show(content: dict[str, Any]) -> list[Block]:
    """A drawing, tables of accuracies and amounts, and pictures."""
    measured = _robustness_of(content)
    if measured is None:
        return []
    names = [n for n in ("student", "teacher") if n in measured["clean"]]
    severities = [str(i) for i in range(1, 6)]
    grid: Grid = [["accuracy %", "clean", *severities, "mean"]]
    amounts: Grid = [["severity", *severities]]
    for kind, scores in measured["kinds"].items():
        for name in names:
            mean = sum(scores[name]) / len(scores[name])
            values = [measured["clean"][name], *scores[name], mean]
            grid.append([f"{kind}, {name}", *map(format.percent, values)])
        amounts.append([f"{kind}: {scores['amount']}", *(f"{v:z.2f}" for v in scores["amounts"])])
    note = (
        f"On {measured['images']:,} test images. Kinds and severities are those of CIFAR-10-C "
        "(Hendrycks and Dietterich 2019), for pixel values from 0 to 1; severity 0 in the drawing "
        "is the clean image."
    )
    blocks: list[Block] = [
        Figure(draw(measured), "accuracy over severities"),
        Note(note),
        Table(grid),
        Table(amounts),
    ]
    captions = ["clean", *severities]
    for kind, pictures in (content.get("corrupted") or {}).items():
        blocks.append(Pictures(kind, list(zip(pictures, captions, strict=True))))
    return blocks


def draw(measured: dict[str, Any]) -> str:
    """Accuracy over severities, a panel for each kind; severity 0 is the clean image."""
    with canvas(len(measured["kinds"]), 2.6, share_y=True) as drawing:
        for axis, (kind, scores) in zip(drawing.axes, measured["kinds"].items(), strict=True):
            for name, color in (("teacher", TEACHER), ("student", STUDENT)):
                if name in scores:
                    values = [measured["clean"][name], *scores[name]]
                    axis.plot(100 * np.array(values), color=color, marker=".", label=name)
            axis.set(title=kind, xticks=range(6))
        drawing.axes[0].set_ylabel("accuracy, %")
        middle = drawing.axes[len(drawing.axes) // 2]
        middle.set_xlabel("severity")
        handles, labels = middle.get_legend_handles_labels()
        middle.figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return drawing.svg


def conclude(content: dict[str, Any]) -> Iterator[str]:
    """What corruptions cost, and the worst of them."""
    measured = _robustness_of(content)
    if measured is None:
        return
    clean, mean, kinds = measured["clean"], measured["mean"], measured["kinds"]
    worst = min(kinds, key=lambda k: min(kinds[k]["student"]))
    low = 100 * min(kinds[worst]["student"])
    text = (
        f"Corrupted images cost it {100 * (clean['student'] - mean['student']):z.2f} points on "
        f"average ({measured['images']:,} images)"
    )
    if "teacher" in mean:
        text += f", its teacher {100 * (clean['teacher'] - mean['teacher']):z.2f}"
    yield f"{text}; the worst is {worst}, down to {low:z.2f} %."
