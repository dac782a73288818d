"""Data sets: two splits of plain arrays, how they are divided, and facts about the classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kd.data.pictures import Pictures
from kd.errors import InputError

UNKNOWN = -1
"""The label of a training image whose class is not known."""


class Split(NamedTuple):
    """Examples in a fixed order; the place of an example is its `index`.

    Attributes:
      image: uint8 [n, h, w, c], scaled by 1 / 255 before `mean` and `std`; or float32 [n, ..., c],
        such as series [n, t, c], which is not scaled; or `Pictures`, decoded when needed.
      label: int32 [n]. In train, -1 is an image whose label is unknown.
    """

    image: np.ndarray | Pictures
    label: np.ndarray


class Dataset(NamedTuple):
    """A data set: its splits, and facts about them.

    Attributes:
      train: training split.
      test: test split.
      num_classes: number of classes, c.
      mean: per channel, in the unit of the scaled image.
      std: likewise.
      class_names: names of the classes, or ().
      validation: a part of the training images that is kept for model selection, or None.
      files: paths of the files of train and of test, where each example is one, or None.
    """

    train: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    validation: Split | None = None
    files: tuple[tuple[str, ...], tuple[str, ...]] | None = None


def class_tables(label: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """Index of the examples of each class, in O(n) memory.

    Args:
      label: int [n].
      num_classes: c.

    Returns:
      `order` int32 [n], the indices sorted by class; `start` and `count` int32 [c]: class k has the
      `count[k]` entries of `order` from `start[k]` on. Empty where a label is unknown: a class has
      images then that no table knows.
    """
    if (label == UNKNOWN).any():
        return {}
    count = np.bincount(label, minlength=num_classes)
    return {
        "order": np.argsort(label, kind="stable").astype(np.int32),
        "start": (np.cumsum(count) - count).astype(np.int32),
        "count": count.astype(np.int32),
    }


def image_tables(dataset: Dataset) -> dict[str, np.ndarray]:
    """The unit and the limits of normalised images, float32 [channels] each.

    Returns:
      `level`: one level of 8-bit pixels, or of raw floats one standard deviation of the data; `low`
      and `high`: black and white, infinite of raw floats.
    """
    mean, std = (np.asarray(x, np.float64) for x in (dataset.mean, dataset.std))
    image = dataset.train.image
    if isinstance(image, np.ndarray) and image.dtype != np.uint8:
        tables = {"level": np.ones_like(std), "low": std - np.inf, "high": std + np.inf}
    else:
        tables = {"level": 1 / 255 / std, "low": (0 - mean) / std, "high": (1 - mean) / std}
    return {name: value.astype(np.float32) for name, value in tables.items()}


def channel_moments(image: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 pixels [..., c] scaled to [0, 1], to
    four decimals.

    They are computed from exact counts of the 256 values. A constant channel gets the deviation
    1 / 255, so that it can be divided by.
    """
    value = np.arange(256) / 255
    mean, std = [], []
    for channel in range(image.shape[-1]):
        frequency = np.bincount(image[..., channel].ravel(), minlength=256)
        frequency = frequency / frequency.sum()
        center = float(frequency @ value)
        mean.append(round(center, 4))
        deviation = float(np.sqrt(frequency @ (value - center) ** 2))
        std.append(round(max(deviation, 1 / 255), 4))
    return tuple(mean), tuple(std)


def stratified(label: np.ndarray, size: int, seed: int) -> np.ndarray:
    """A random choice of examples with the class frequencies of all, always the same for a seed.

    Args:
      label: int [n].
      size: number of examples to choose. A class with `count` examples gets size * count / n of
        them; what rounding leaves over goes to the largest remainders, the lower class first. Every
        class keeps at least one example that is not chosen.
      seed: of `numpy.random.RandomState`, whose stream is frozen (NEP 19).

    Returns:
      bool [n], true where chosen; fewer than `size` if classes have too few examples.
    """
    random = np.random.RandomState(seed)
    count = np.bincount(label)
    quota = size * count / len(label)
    take = np.floor(quota).astype(int)
    largest_remainders = np.argsort(take - quota, kind="stable")[: size - take.sum()]
    take[largest_remainders] += 1
    chosen = np.zeros(len(label), bool)
    for k in range(len(count)):
        members = random.permutation(np.flatnonzero(label == k))
        chosen[members[: min(take[k], max(count[k] - 1, 0))]] = True
    return chosen


def divide(
    image: np.ndarray | Pictures, label: np.ndarray, chosen: np.ndarray
) -> tuple[Split, Split]:
    """Splits (train, test): `test` has the chosen examples; both keep their order."""
    return (Split(image[~chosen], label[~chosen]), Split(image[chosen], label[chosen]))


def hold_out(dataset: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """The data set for model selection: a stratified part of train replaces the test split.

    Images without a label stay in train.

    Args:
      dataset: the data set.
      fraction: fraction of the labelled training images that is held out, between 0 and 1.
      seed: of the choice; see `stratified`.

    Raises:
      InputError: the fraction leaves one of the two splits empty.
    """
    label = dataset.train.label
    labelled = label != UNKNOWN
    size = round(fraction * labelled.sum()) if 0 < fraction < 1 else 0
    chosen = np.zeros(len(label), bool)
    chosen[labelled] = stratified(label[labelled], size, seed)
    if not chosen.any():
        raise InputError(
            f"holding out {fraction!r} of {labelled.sum()} training examples leaves a split empty. "
            "Give a fraction between 0 and 1 that makes at least one example."
        )
    train, test = divide(dataset.train.image, label, chosen)
    return dataset._replace(train=train, test=test, files=None)


def keep_validation(dataset: Dataset, fraction: float) -> Dataset:
    """The data set with a stratified part of train as `validation`, and an unchanged test split.
    Raises as `hold_out`.
    """
    divided = hold_out(dataset, fraction, seed=1)
    return divided._replace(test=dataset.test, validation=divided.test)


def keep_classes(dataset: Dataset, classes: Sequence[int]) -> Dataset:
    """The data set with only these classes in train; other splits and `num_classes` are unchanged.

    These are the transfer sets of Hinton, Vinyals, Dean (2015, https://arxiv.org/abs/1503.02531,
    section 3).

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
    return dataset._replace(train=Split(image[chosen], label[chosen]), files=None)


def keep_labels(dataset: Dataset, size: int, seed: int = 0) -> Dataset:
    """The data set with `size` labels in train, and `UNKNOWN` for all other images.

    The choice is random with the class frequencies of all, and at least one image of each class.

    Args:
      dataset: the data set.
      size: number of images that keep their label; 0 keeps all.
      seed: of the choice; the same for all runs that are compared.

    Raises:
      InputError: more labels than there are, or fewer than classes.
    """
    image, label = dataset.train
    labelled = np.flatnonzero(label != UNKNOWN)
    if size == 0 or size == len(labelled):
        return dataset
    classes = len(np.unique(label[labelled]))
    if not classes <= size < len(labelled):
        raise InputError(
            f"config.data.labelled = {size}: train has {len(labelled)} labelled images of "
            f"{classes} classes. Give a number from {classes} to {len(labelled)}, or 0 for all."
        )
    chosen = labelled[_choose_labels(label[labelled], size, seed)]
    kept = np.full_like(label, UNKNOWN)
    kept[chosen] = label[chosen]
    return dataset._replace(train=Split(image, kept))


def _choose_labels(label: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices of `size` examples, each class with its share of them and at least one."""
    random = np.random.RandomState(seed)
    classes, count = np.unique(label, return_counts=True)
    take = np.maximum(np.floor(size * count / len(label)).astype(int), 1)
    while take.sum() != size:  # by the largest error of a share, the lower class first
        error = take - size * count / len(label)
        if take.sum() < size:
            take[np.argmin(np.where(take < count, error, np.inf))] += 1
        else:
            take[np.argmax(np.where(take > 1, error, -np.inf))] -= 1
    members = [random.permutation(np.flatnonzero(label == k)) for k in classes]
    return np.concatenate([m[:n] for m, n in zip(members, take, strict=True)])


def drop_unlabelled(dataset: Dataset) -> Dataset:
    """The data set without the training images whose label is unknown."""
    image, label = dataset.train
    known = label != UNKNOWN
    if known.all():
        return dataset
    return dataset._replace(train=Split(image[known], label[known]), files=None)


def select(
    dataset: Dataset,
    holdout: float = 0.0,
    validation: float = 0.0,
    classes: Sequence[int] = (),
    labelled: int = 0,
    labelled_seed: int = 0,
    unlabelled: str = "keep",
) -> Dataset:
    """The part of a data set that a run uses.

    Classes are removed from train after images are held out, so that the held-out part has all of
    them.

    Args:
      dataset: as it is stored.
      holdout: see `hold_out`; 0 holds out none, and so `test` stays.
      validation: see `keep_validation`; 0 keeps none.
      classes: see `keep_classes`; empty for all.
      labelled: see `keep_labels`, as for `labelled_seed`.
      labelled_seed: of the choice.
      unlabelled: "keep" or "drop" the training images without a label.

    Raises:
      InputError: see these functions.
    """
    dataset = hold_out(dataset, holdout) if holdout else dataset
    dataset = keep_validation(dataset, validation) if validation else dataset
    dataset = keep_classes(dataset, classes) if classes else dataset
    dataset = keep_labels(dataset, labelled, labelled_seed)
    return dataset if unlabelled == "keep" else drop_unlabelled(dataset)
