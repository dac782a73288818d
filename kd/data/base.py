"""What every data set is: two splits of plain arrays, and facts of the training split that
objectives may ask for.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kd.data.pictures import Pictures
from kd.errors import InputError


class Split(NamedTuple):
    """Examples in a fixed order; an example's place is its `index`.

    `image` is uint8 [n, h, w, c] (scaled by 1 / 255 before `mean` and `std`), or float32 of any
    shape [n, ...], such as [n, t, c] series, taken as it is; or pictures that are decoded as they
    are needed. `label` is int32 [n].
    """

    image: np.ndarray | Pictures
    label: np.ndarray


class Dataset(NamedTuple):
    """Two splits; `mean` and `std` per channel, in the unit that the scaled image has; names of the
    classes.

    `validation`, where there is one, is a part of the training images that is kept to choose from.
    """

    train: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    validation: Split | None = None


def class_tables(label: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """Where the examples of each class are, in O(n) memory.

    Args:
      label: int [n].
      num_classes: c.

    Returns:
      `order` int32 [n], the indices sorted by class; `start` and `count` int32 [c], each class's
      run within `order`.
    """
    count = np.bincount(label, minlength=num_classes)
    return {
        "order": np.argsort(label, kind="stable").astype(np.int32),
        "start": (np.cumsum(count) - count).astype(np.int32),
        "count": count.astype(np.int32),
    }


def channel_moments(image: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 pixels [..., c] scaled to [0, 1], to
    four decimals.

    They come from exact counts of the 256 values. A channel that never changes gets 1 / 255, so
    that dividing stays safe.
    """
    value = np.arange(256) / 255
    mean, std = [], []
    for channel in range(image.shape[-1]):
        share = np.bincount(image[..., channel].ravel(), minlength=256)
        share = share / share.sum()
        center = float(share @ value)
        mean.append(round(center, 4))
        spread = float(np.sqrt(share @ (value - center) ** 2))
        std.append(round(max(spread, 1 / 255), 4))
    return tuple(mean), tuple(std)


def stratified(label: np.ndarray, size: int, seed: int) -> np.ndarray:
    """A fixed random part of the examples in which each class has its share.

    Args:
      label: int [n].
      size: examples to choose; classes get size * count / n each, what rounding leaves going to the
        largest remainders (the lower class first). No class is emptied.
      seed: of `numpy.random.RandomState`, whose stream is frozen (NEP 19), so that the choice never
        changes.

    Returns:
      bool [n], true where chosen; it may choose fewer than `size` where classes of one example
      stand in the way.
    """
    random = np.random.RandomState(seed)
    count = np.bincount(label)
    share = size * count / len(label)
    take = np.floor(share).astype(int)
    rest = np.argsort(take - share, kind="stable")[: size - take.sum()]
    take[rest] += 1
    chosen = np.zeros(len(label), bool)
    for k in range(len(count)):
        among = random.permutation(np.flatnonzero(label == k))
        chosen[among[: min(take[k], max(count[k] - 1, 0))]] = True
    return chosen


def divide(
    image: np.ndarray | Pictures, label: np.ndarray, chosen: np.ndarray
) -> tuple[Split, Split]:
    """(train, test): `test` holds the chosen examples; both keep the order."""
    return (Split(image[~chosen], label[~chosen]), Split(image[chosen], label[chosen]))


def hold_out(dataset: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """The data set of choices: a stratified part of train becomes the evaluation split, and the
    test set is out of reach.

    Args:
      fraction: part of the training set that is held out, between 0 and 1.
      seed: chooses the part; see `stratified`.

    Raises:
      InputError: the fraction leaves one of the two splits empty.
    """
    label = dataset.train.label
    size = round(fraction * len(label)) if 0 < fraction < 1 else 0
    chosen = stratified(label, size, seed)
    if not chosen.any():
        raise InputError(
            f"holding out {fraction!r} of {len(label)} training examples leaves a split empty. "
            "Give a fraction between 0 and 1 that is worth an example or more."
        )
    train, test = divide(dataset.train.image, label, chosen)
    return dataset._replace(train=train, test=test)


def keep_validation(dataset: Dataset, fraction: float) -> Dataset:
    """The data set with a stratified part of train as `validation`, and its test set as it was.
    Raises as `hold_out`.
    """
    kept = hold_out(dataset, fraction, seed=1)
    return kept._replace(test=dataset.test, validation=kept.test)


def keep_classes(dataset: Dataset, classes: Sequence[int]) -> Dataset:
    """The data set without the training images of other classes; other splits, and the number of
    classes, stay.

    The transfer sets of Hinton, Vinyals, Dean (2015, https://arxiv.org/abs/1503.02531, section 3)
    are made so.

    Raises:
      InputError: a class that has no training images.
    """
    image, label = dataset.train
    for k in classes:
        if not (label == k).any():
            raise InputError(
                f"config.train_classes: there are no training images of class {k!r}; the data have "
                f"classes 0 to {dataset.num_classes - 1}."
            )
    chosen = np.isin(label, list(classes))
    return dataset._replace(train=Split(image[chosen], label[chosen]))
