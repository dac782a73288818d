"""Test images that the teacher gets right and the student wrong."""

from typing import Any

import numpy as np

from kd.report.blocks import Block, Note, Pictures
from kd.report.run import Run

TITLE = "Where the student is wrong and its teacher right"
ORDER = 40

CLASSES, IMAGES = 5, 8
"""How many classes are shown, and images of each."""


def measure(run: Run) -> dict[str, Any]:
    """`mistakes`, where the networks and so the data set are loaded."""
    if run.networks is None or run.target is None:
        return {}
    return {"mistakes": mistakes(run)}


def mistakes(run: Run) -> list[dict[str, Any]]:
    """Mistakes in the classes where the student loses most.

    Returns:
      For each class `name` and `images`: `index` in the test set, `png` (base64), the student's
      commonest wrong answer `student`, and `wrong`, the number of its seeds that are wrong. Images
      that more seeds get wrong come first.
    """
    from kd.report.fidelity import per_class
    from kd.report.pictures import png

    assert run.target is not None
    names = run.result["class_names"]
    name_of = lambda k: names[k] if names else str(k)
    all_rows = per_class(run.logits, run.label, run.target, intervals=False)
    rows = [row for row in all_rows if row.worse]
    rows.sort(key=lambda row: row.accuracy - (row.teacher or 0.0))
    answers = run.logits.argmax(-1)  # [s, n]
    known = run.target.argmax(-1) == run.label  # [n], or for paired students [s, n]
    missed = (answers != run.label) & known  # [s, n]
    wrong = missed.sum(axis=0)
    classes = []
    for row in rows[:CLASSES]:
        candidates = np.flatnonzero((run.label == row.label) & (wrong > 0))
        first = candidates[np.argsort(-wrong[candidates], kind="stable")][:IMAGES]
        images = []
        for index in map(int, first):
            commonest = np.bincount(answers[missed[:, index], index]).argmax()
            images.append(
                {
                    "index": index,
                    "png": png(run.networks.raw([index])[0]),
                    "student": name_of(commonest),
                    "wrong": int(wrong[index]),
                }
            )
        classes.append({"name": name_of(row.label), "images": images})
    return classes


def show(content: dict[str, Any]) -> list[Block]:
    """A line of pictures for each class."""
    if not content.get("mistakes"):
        return []
    seeds = len(content["seeds"])
    votes = f", in how many of {seeds} seeds," if seeds > 1 else ""
    note = (
        "Test images that the teacher gets right and the student wrong, of the classes with the "
        f"largest loss. Below each: the wrong class{votes} and the image's index in the test set."
    )
    blocks: list[Block] = [Note(note)]
    for row in content["mistakes"]:
        pictures = []
        for image in row["images"]:
            votes = f" ({image['wrong']} of {seeds})" if seeds > 1 else ""
            pictures.append((image["png"], f"{image['student']}{votes}, #{image['index']}"))
        blocks.append(Pictures(row["name"], pictures))
    return blocks
