"""Certificates of distillation: whether student and teacher name one class in a whole ball, and how
far their logits can be from each other there.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kd import signals
from kd.verify import bounds
from kd.verify.bounds import Balls
from kd.verify.certificates import Question, prove
from kd.verify.networks import Member, Subject

CHUNK = 64
"""Images at a time."""


def agreements(
    student: Subject, teacher: Subject, question: Question, radii: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Yields for each radius, over the images of a question:

    `same`, how many balls have one class by both, whatever the label is; `differ`, at how many
    images the two name different classes; `gap`, the mean bound of max_k |s_k - t_k| in a ball, for
    logits minus their mean over the classes, and `gap_at_image`, its mean value at the images. The
    teacher's logits are the weighted mean of its members' where it has several.
    """
    predicted = student.logits(question.image).argmax(-1)
    differ = predicted != teacher.logits(question.image).argmax(-1)
    at_image = _distance(student, teacher, question.image)
    for radius in sorted(radii):
        start = time.process_time()
        balls = question.balls(radius)
        same, gaps = np.zeros(len(predicted), bool), np.zeros(len(predicted))
        for first in range(0, len(predicted), CHUNK):
            part = slice(first, first + CHUNK)
            same[part], gaps[part] = _agree(student, teacher, balls[part], predicted[part])
            signals.poll()
        yield {
            "radius": radius,
            "same": int((same & ~differ).sum()),
            "differ": int(differ.sum()),
            "gap": float(gaps.mean()),
            "gap_at_image": float(at_image.mean()),
            "seconds": round(time.process_time() - start, 4),
            "proved": (same & ~differ).tolist(),
            "gaps": gaps.tolist(),
        }


def _agree(
    student: Subject, teacher: Subject, balls: Balls, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether all networks prove the class `target`, and the bound of the distance."""
    classes = student.members[0].classes
    center = np.eye(classes) - 1 / classes
    rows = np.concatenate([center, -center])
    slope: Any = np.zeros((1, 1, balls.image.shape[1]))
    constant: Any = np.zeros((1, 1))
    same, slack = np.ones(len(target), bool), np.zeros(len(target))
    for member, weight in _members(student, teacher):
        _, margin, spare, limits = prove(member, balls, target)
        same &= (margin > spare).all(axis=1)
        limits = member.crown.bounds(balls)
        part, support, offset = member.crown.pulled(limits, weight * rows[None])
        spread = np.zeros((*part.shape[:2], slope.shape[2]))
        spread[:, :, support] = part
        slope, constant = slope + spread, constant + offset
        slack += 2 * abs(weight) * limits.error[-1].max(axis=1)
    least = balls.least(slope, np.arange(slope.shape[2])) + constant
    return same, -least.min(axis=1) + slack * (1 + bounds.WIDENING)


def _members(student: Subject, teacher: Subject) -> list[tuple[Member, float]]:
    """All networks, and their weights in teacher minus student."""
    pairs = zip(teacher.members, teacher.weights, strict=True)
    return [(student.members[0], -1.0), *((member, weight) for member, weight in pairs)]


def _distance(student: Subject, teacher: Subject, image: np.ndarray) -> np.ndarray:
    """max_k |s_k - t_k| of centred logits at each image."""
    total: Any = 0.0
    for member, weight in _members(student, teacher):
        logits = member.logits(image).astype(np.float64)
        total = total + weight * (logits - logits.mean(axis=-1, keepdims=True))
    return abs(total).max(axis=-1)
