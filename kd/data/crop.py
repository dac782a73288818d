"""The crops of ImageNet's recipe: random in training, central in evaluation.

A random crop depends only on (seed, epoch, index), not on the batch or on the process that decodes
the picture. Pillow does the cropping and resizing; the choice of the box is written here because
libraries draw it from a generator's state. Pillow's `resize(box=...)` would save the copy of the
crop, but also reads pixels outside the box.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

type Box = tuple[int, int, int, int]
"""Left, upper, right and lower edge in pixels, as in Pillow."""

BILINEAR = 2
"""`PIL.Image.Resampling.BILINEAR`; Pillow is imported only where pictures are decoded."""

TRIES = 10


def uniforms(seed: int, epoch: int, index: int, n: int) -> list[float]:
    """n uniform numbers in [0, 1), always the same for (seed, epoch, index).

    They equal `numpy.random.Generator(Philox(key)).random(n)` today; but only the raw stream of a
    bit generator is guaranteed never to change (NEP 19).
    """
    key = np.array([seed, epoch * 2**40 + index], np.uint64)
    raw = np.random.Philox(key=key).random_raw(n)
    return ((raw >> np.uint64(11)) * 2.0**-53).tolist()


def random_box(
    numbers: list[float],
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """A box of random area, aspect ratio and place.

    Szegedy et al. Going Deeper with Convolutions. CVPR 2015. https://arxiv.org/abs/1409.4842,
    section 6; the ten tries and the fallback are those of torchvision's `RandomResizedCrop`.

    Args:
      numbers: 2 * TRIES + 2 uniform numbers.
      height: of the picture, in pixels.
      width: likewise.
      scale: least and largest fraction of the picture's area.
      ratio: least and largest width / height; its logarithm is uniform.
    """
    draw: Iterator[float] = iter(numbers)
    between = lambda low, high: low + (high - low) * next(draw)
    for _ in range(TRIES):
        area = height * width * between(*scale)
        aspect = math.exp(between(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(numbers[-2] * (height - h + 1))
            left = int(numbers[-1] * (width - w + 1))
            return left, top, left + w, top + h
    # No box fitted: the middle, with the allowed ratio nearest to the picture's.
    w, h = width, height
    if width / height < ratio[0]:
        h = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        w = max(1, round(height * ratio[1]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def random_resized_crop(
    picture: "Image",
    key: tuple[int, int, int],
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """A random box of the picture, resized (bilinear, antialiased) to uint8 [size, size, 3].

    Args:
      picture: any size and mode.
      key: (seed, epoch, index), of which all randomness is a function.
      size: side of the result, in pixels.
      scale: see `random_box`.
      ratio: see `random_box`.
    """
    numbers = uniforms(*key, 2 * TRIES + 2)
    box = random_box(numbers, picture.height, picture.width, scale, ratio)
    return _pixels(picture.crop(box).resize((size, size), BILINEAR))


def center_crop(picture: "Image", resize: int, size: int) -> np.ndarray:
    """The central square of side `size`, after resizing the shorter side to `resize` pixels: uint8
    [size, size, 3].
    """
    short = min(picture.size)
    width, height = (resize * side // short for side in picture.size)
    picture = picture.resize((width, height), BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return _pixels(picture.crop((left, top, left + size, top + size)))


def _pixels(picture: "Image") -> np.ndarray:
    return np.asarray(picture.convert("RGB"), np.uint8)
