"""Similarity of the stages of student and teacher."""

from typing import Any

import numpy as np

from kd.report.blocks import Block, Heat, Note
from kd.report.run import Run

TITLE = "Similarity of the stages (CKA)"
ORDER = 70


def measure(run: Run) -> dict[str, Any]:
    """`cka` of each stage of the student with each of the teacher: the mean over all pairs of their
    networks.
    """
    if run.networks is None or "teacher" not in run.networks.networks:
        return {}
    from kd.report.similarity import cka

    grams = run.networks.representations.grams
    student, teacher = grams["student"], grams["teacher"]
    values = [[cka(a, b) for b in teacher.values()] for a in student.values()]
    numbers = [[None if np.isnan(v) else v for v in row] for row in values]
    matrix = {"student": list(student), "teacher": list(teacher), "values": numbers}
    return {"networks": {"cka": matrix}}


def show(content: dict[str, Any]) -> list[Block]:
    """The matrix as a heat map."""
    measured = content["networks"] or {}
    if "cka" not in measured:
        return []
    cka = measured["cka"]
    heat = Heat("student ↓ teacher →", cka["student"], cka["teacher"], cka["values"])
    note = (
        f"Linear CKA (Kornblith et al. 2019, unbiased HSIC) on {measured['images']:,} test images: "
        "1 is the same representation up to rotation and scale, 0 an unrelated one. Means over all "
        "pairs of a seed of the student and a member of the teacher."
    )
    return [heat, Note(note)]
