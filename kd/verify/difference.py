"""How far the logits of an exported int8 file can be from those of its float network in a ball."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kd import signals
from kd.export import graph
from kd.verify import bounds
from kd.verify.bounds import Balls
from kd.verify.certificates import Question
from kd.verify.networks import File, Subject

CHUNK = 64
"""Images at a time."""


def differences(
    student: Subject, exported: Subject, question: Question, radii: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Yields for each radius, over the images of a question:

    `bound`, the largest bound of max_k |z_k - scale (q_k - zero)| over all balls, of the float
    logits z and the integers q; `mean`, the mean of the bounds of the images, `bounds`; and
    `at_image`, the largest difference at the images themselves. In units of the logits.
    """
    at_image = _at_images(student, exported, question.image)
    for radius in sorted(radii):
        start = time.process_time()
        balls, parts = question.balls(radius), []
        for first in range(0, len(at_image), CHUNK):
            parts.append(_bound(student, exported, balls[first : first + CHUNK]))
            signals.poll()
        limits = np.concatenate(parts)
        yield {
            "radius": radius,
            "bound": float(limits.max()),
            "mean": float(limits.mean()),
            "at_image": float(at_image.max()),
            "seconds": round(time.process_time() - start, 4),
            "bounds": limits.tolist(),
        }


def _bound(student: Subject, exported: Subject, balls: Balls) -> np.ndarray:
    """The smaller of the bounds by intervals of both logits and by linear functions of the image,
    of which those of the two networks largely cancel.
    """
    network, file = student.members[0], exported.members[0]
    assert isinstance(file, File)
    target = graph.ends(file.content)[1]
    scale, zero = float(target.scale), float(target.zero)
    rounded = file.balls(balls)
    ours, theirs = network.crown.bounds(balls), file.crown.bounds(rounded)
    low, high = ours.low[-1], ours.high[-1]
    least, most = scale * (theirs.low[-1] - zero), scale * (theirs.high[-1] - zero)
    plain = np.maximum(high - least, most - low).max(axis=1)

    unit = np.eye(network.classes)
    rows = np.concatenate([unit, -unit])[None]
    slope: Any = np.zeros((1, 1, rounded.image.shape[1]))
    constant: Any = -scale * zero * -rows.sum(axis=-1)
    for member, limits, weights in ((network, ours, rows), (file, theirs, -scale * rows)):
        part, support, offset = member.crown.pulled(limits, weights)
        spread = np.zeros((*part.shape[:2], slope.shape[2]))
        spread[:, :, support] = part
        slope, constant = slope + spread, constant + offset
    linear = rounded.least(slope, np.arange(slope.shape[2])) + constant
    spare = (1 + bounds.WIDENING) * (ours.error[-1] + scale * theirs.error[-1]).max(axis=1)
    return np.minimum(plain, -linear.min(axis=1)) + spare


def _at_images(student: Subject, exported: Subject, image: np.ndarray) -> np.ndarray:
    """max_k |z_k - scale (q_k - zero)| at each image."""
    target = graph.ends(exported.members[0].content)[1]  # pyrefly: ignore
    said = float(target.scale) * (exported.logits(image).astype(np.float64) - target.zero)
    return abs(student.logits(image).astype(np.float64) - said).max(axis=-1)
