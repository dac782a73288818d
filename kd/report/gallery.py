"""Pictures for a report: where the student is wrong and its teacher right, and what the corruptions
look like.
"""

import base64
import io
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.report.corruptions import KINDS, SEVERITIES, corrupt
from kd.report.stored import Stored

CLASSES, EACH = 5, 8
"""Classes that are shown, and images of each."""

SIDE = 96
"""Largest side of a picture in pixels; larger ones are made smaller."""


def mistakes(stored: Stored, dataset: Dataset, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the classes where the student is worse, the most so first: test images that its teacher
    knows and it does not.

    Args:
      stored: a run with a teacher.
      dataset: its data.
      rows: `classes` of its content.

    Returns:
      For each class `name` and `images`: `index` in the test set, `png` (base64), the student's
        commonest wrong answer
      `student`, and `wrong`, how many of its seeds are. Those that more seeds get wrong come first.
    """
    assert stored.target is not None
    names = stored.result["class_names"]
    named = lambda k: names[k] if names else str(k)
    worst = sorted((r for r in rows if r["worse"]), key=lambda r: r["accuracy"] - r["teacher"])
    answers = stored.logits.argmax(-1)  # [s, n]
    known = stored.target.argmax(-1) == stored.label  # [n], or of own teachers [s, n]
    missed = (answers != stored.label) & known  # [s, n]
    wrong = missed.sum(axis=0)
    shown = []
    for row in worst[:CLASSES]:
        there = np.flatnonzero((stored.label == row["label"]) & (wrong > 0))
        first = there[np.argsort(-wrong[there], kind="stable")][:EACH]
        images = []
        for index in first:
            common = np.bincount(answers[missed[:, index], index]).argmax()
            picture = png(_image(dataset, int(index)))
            images.append(
                {
                    "index": int(index),
                    "png": picture,
                    "student": named(common),
                    "wrong": int(wrong[index]),
                }
            )
        shown.append({"name": row["name"], "images": images})
    return shown


def corrupted(dataset: Dataset) -> dict[str, list[str]] | None:
    """The first test image without and in each severity of each kind of corruption, as PNG; None
    for what is no picture.
    """
    image = _image(dataset, 0)
    if png(image) is None:
        return None
    one = jax.device_put(image[None])
    look = lambda kind, severity: np.asarray(corrupt(one, kind, severity))[0]
    return {
        kind: [str(png(image))] + [str(png(look(kind, i))) for i in range(1, SEVERITIES + 1)]
        for kind in KINDS
    }


def _image(dataset: Dataset, index: int) -> np.ndarray:
    image = dataset.test.image
    if isinstance(image, Pictures):
        return image.centered([index])[0]
    return image[index]


def png(image: UInt8[np.ndarray, "h w c"] | np.ndarray) -> str | None:
    """The picture as PNG in base64; None where the array is none, such as a series or floats."""
    from PIL import Image

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        return None
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
