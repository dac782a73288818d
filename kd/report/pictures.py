"""Small pictures of a report, as PNG in base64."""

import base64
import io

import jax
import numpy as np
from jaxtyping import UInt8

from kd.robustness.corruptions import KINDS, SEVERITIES, corrupt

SIDE = 96
"""Largest side of a picture in pixels; larger images are scaled down."""


def png(image: UInt8[np.ndarray, "h w c"] | np.ndarray) -> str | None:
    """The image as a picture; None for an array that is not one, such as a series or floats."""
    from PIL import Image

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        return None
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def corrupted(image: np.ndarray) -> dict[str, list[str]] | None:
    """The image, clean and in each severity of each kind of corruption; None for an array that is
    not an image.
    """
    clean = png(image)
    if clean is None:
        return None
    batch = jax.device_put(image[None])
    picture = lambda kind, severity: np.asarray(corrupt(batch, kind, severity))[0]
    return {
        kind: [clean, *(str(png(picture(kind, i))) for i in range(1, SEVERITIES + 1))]
        for kind in KINDS
    }
