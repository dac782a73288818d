"""What ImageNet's recipe cuts out of a picture: a random piece of it in training, its middle in
evaluation.

What is drawn depends on (seed, epoch, index) alone: neither on the batch nor on which process
decodes the picture.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

type Box = tuple[int, int, int, int]
"""Left, upper, right and lower edge in pixels, as Pillow has them."""

BILINEAR = 2
"""Of `PIL.Image.Resampling`, whose import is left to where pictures are decoded."""

TRIES = 10


def uniforms(seed: int, epoch: int, index: int, n: int) -> list[float]:
    """n numbers in [0, 1). The raw stream of a bit generator never changes (NEP 19), what NumPy
    makes of it may.
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
    section 6; the ten tries and what follows them are torchvision's `RandomResizedCrop`.

    Args:
      numbers: 2 * TRIES + 2 uniform ones.
      height: of the picture, in pixels.
      width: likewise.
      scale: least and largest share of the picture's area.
      ratio: least and largest width / height; its logarithm is uniform.
    """
    draw: Iterator[float] = iter(numbers)
    between = lambda low, high: low + (high - low) * next(draw)
    for _ in range(TRIES):
        area = height * width * between(*scale)
        shape = math.exp(between(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            top = int(numbers[-2] * (height - h + 1))
            left = int(numbers[-1] * (width - w + 1))
            return left, top, left + w, top + h
    # Nothing fitted: the middle, in the admitted ratio that is nearest to the picture's.
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
    """`random_box` of the picture for key (seed, epoch, index), resized to uint8 [size, size, 3]
    (bilinear, antialiased).
    """
    numbers = uniforms(*key, 2 * TRIES + 2)
    box = random_box(numbers, picture.height, picture.width, scale, ratio)
    return _pixels(picture.crop(box).resize((size, size), BILINEAR))


def center_crop(picture: "Image", resize: int, size: int) -> np.ndarray:
    """The shorter side resized to `resize` pixels, then the middle square of side `size`: uint8
    [size, size, 3].
    """
    short = min(picture.size)
    width, height = (resize * side // short for side in picture.size)
    picture = picture.resize((width, height), BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return _pixels(picture.crop((left, top, left + size, top + size)))


def _pixels(picture: "Image") -> np.ndarray:
    return np.asarray(picture.convert("RGB"), np.uint8)
