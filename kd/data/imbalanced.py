"""A data set of which some classes keep few training images: rare classes to try methods on."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from kd.data.base import UNKNOWN, Dataset, Split
from kd.data.class_weights import class_number
from kd.errors import InputError
from kd.ranges import Fraction, Range


def load(
    source: str,
    keep: Mapping[str, Fraction] | None = None,
    ratio: Annotated[float, Range(1, 1e6)] = 1.0,
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0,
    settings: Mapping[str, Any] | None = None,
) -> Dataset:
    """The data set `source` with fewer training images of some classes, and its test split.

    Args:
      source: name of a data set, such as "digits", or a dotted path.
      keep: {class: fraction} by name or number, such as {"8": 0.05}: the part of the class's
        training images that stays, at least one.
      ratio: images of the first class to those of the last, which decrease exponentially from class
        to class: class k of c keeps ratio^(-k / (c - 1)) of its images. These are the long-tailed
        sets of Cui et al. Class-Balanced Loss. CVPR 2019. https://arxiv.org/abs/1901.05555,
        section 5.1. `keep` multiplies it.
      seed: of the choice of images.
      settings: of the source, such as the `path` of `arrays`.

    Raises:
      InputError: no such data set or class, or nothing that makes a class rare.
    """
    from kd.data import load as load_source

    if not keep and ratio == 1:
        raise InputError(
            "config.data: imbalanced needs keep, such as {'8': 0.05}, or a ratio above 1: without, "
            f"it is {source} itself."
        )
    dataset = load_source(source, **(settings or {}))
    c = dataset.num_classes
    part = float(ratio) ** (-np.arange(c) / max(c - 1, 1))
    for name, fraction in (keep or {}).items():
        part[class_number(name, dataset, "config.data.keep")] *= fraction
    image, label = dataset.train
    random = np.random.RandomState(seed)  # whose stream is frozen (NEP 19)
    stays = label == UNKNOWN
    for k in range(c):
        members = random.permutation(np.flatnonzero(label == k))
        stays[members[: max(1, round(part[k] * len(members)))]] = True
    return dataset._replace(train=Split(image[stays], label[stays]), files=None)
