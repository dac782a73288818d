"""A data set with smaller images, for networks with little memory or little time."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from kd.data.base import Dataset, Split
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.ranges import Range


def load(
    source: str,
    factor: Annotated[int, Range(2, 64)] = 2,
    settings: Mapping[str, Any] | None = None,
) -> Dataset:
    """The data set `source` with images [n, h / factor, w / factor, c].

    A pixel is the mean of `factor` x `factor` pixels, rounded where these are integers. `mean` and
    `std` stay the source's.

    Args:
      source: name of a data set, such as "fashion_mnist", or a dotted path.
      factor: pixels along each side that become one.
      settings: of the source, such as the `path` of `arrays`.

    Raises:
      InputError: no such data set, no images, images that are decoded when needed, or sides that
        `factor` does not divide.
    """
    from kd.data import load as load_source

    dataset = load_source(source, **(settings or {}))
    train, test = (_smaller(split, factor, source) for split in (dataset.train, dataset.test))
    return dataset._replace(train=train, test=test)


def _smaller(split: Split, factor: int, source: str) -> Split:
    image = split.image
    if isinstance(image, Pictures):
        raise InputError(
            f"config.data: thumbnails are of images in memory, and those of {source} are decoded "
            f"when needed: set config.data.settings.size, or prepare smaller files."
        )
    if image.ndim != 4:
        raise InputError(
            f"config.data: thumbnails are of images [n, h, w, c], and {source} has examples of "
            f"shape {list(image.shape[1:])}."
        )
    n, h, w, c = image.shape
    if h % factor or w % factor:
        raise InputError(
            f"config.data.factor = {factor} does not divide the sides of {source}'s images, "
            f"{h} x {w}."
        )
    mean = image.reshape(n, h // factor, factor, w // factor, factor, c).mean(
        axis=(2, 4), dtype=np.float32
    )
    integers = np.issubdtype(image.dtype, np.integer)
    return split._replace(image=(np.rint(mean) if integers else mean).astype(image.dtype))
