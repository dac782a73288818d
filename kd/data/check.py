"""The check of a data set, kd's own or a user's, before training relies on it."""

from typing import Any

import numpy as np

from kd.data.base import UNKNOWN, Dataset, Split
from kd.data.labels import MOST_CLASSES, refusal
from kd.data.pictures import Pictures
from kd.errors import InputError


def check(dataset: Any, what: str = "the data") -> Dataset:
    """Checks that a data set is as `Split` and `Dataset` describe, and returns it.

    Labels of any integer type are returned as int32, floating-point images as float32.

    Args:
      dataset: the data set.
      what: its name in messages.

    Raises:
      InputError: the message says which split and what is wrong.
    """
    if not isinstance(dataset, Dataset):
        raise InputError(f"{what} must be a kd.data.base.Dataset, not {type(dataset).__name__}.")
    train = _split(dataset.train, f"{what}, train")
    test = _split(dataset.test, f"{what}, test")
    if train.image.shape[1:] != test.image.shape[1:]:
        raise InputError(
            f"{what}: images of train are {list(train.image.shape[1:])} and of test "
            f"{list(test.image.shape[1:])}. A network takes one shape: make them equal."
        )
    if train.image.dtype != test.image.dtype:
        raise InputError(
            f"{what}: images of train are {train.image.dtype} and of test {test.image.dtype}. "
            "Store both alike."
        )
    dataset = dataset._replace(train=train, test=test)
    _check_classes(dataset, what)
    _check_channels(dataset, what)
    return dataset._replace(
        train=train._replace(label=train.label.astype(np.int32)),
        test=test._replace(label=test.label.astype(np.int32)),
    )


def _split(split: Any, what: str) -> Split:
    streamed = isinstance(split[0], Pictures)
    image = split[0] if streamed else np.asarray(split[0])
    label = np.asarray(split[1])
    if not image.shape or not len(image):
        raise InputError(f"{what}: it has no examples.")
    if 0 in image.shape or len(image.shape) < 2:
        raise InputError(f"{what}: examples of shape {list(image.shape[1:])} hold no values.")
    if image.dtype.kind == "f":
        image = np.ascontiguousarray(image, np.float32)
        if not np.isfinite(image).all():
            at = int(np.argwhere(~np.isfinite(image))[0][0])
            raise InputError(
                f"{what}: image {at} (from 0) has pixels that are NaN or infinite. Clean or drop "
                "it."
            )
    elif image.dtype != np.uint8:
        raise InputError(
            f"{what}: images must be uint8 (0 to 255) or floating point, not {image.dtype}."
        )
    if image.dtype == np.uint8 and len(image.shape) != 4:
        raise InputError(f"{what}: uint8 images must be [n, h, w, c], not {list(image.shape)}.")
    if problem := refusal(label, len(image), what):
        raise problem
    return Split(image, label)


def _check_classes(dataset: Dataset, what: str) -> None:
    c = dataset.num_classes
    if isinstance(c, bool) or not isinstance(c, int | np.integer) or not 2 <= c <= MOST_CLASSES:
        raise InputError(
            f"{what}: there must be two classes or more, {MOST_CLASSES:,} at most, not {c!r}."
        )
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        low, high = int(split.label.min()), int(split.label.max())
        least = UNKNOWN if split is dataset.train else 0
        if low == UNKNOWN and least == 0:
            raise InputError(
                f"{what}, {name}: {int((split.label == UNKNOWN).sum()):,} labels are -1, which "
                "means unknown. Only training images may have no label: remove these images, or, "
                "if -1 is a class, number the classes from 0."
            )
        if low < least or high >= c:
            raise InputError(
                f"{what}, {name}: labels run from {low} to {high}, but {c} classes are 0 to "
                f"{c - 1}. {_remedy(low, high, c)}"
            )
    if dataset.class_names and len(dataset.class_names) != c:
        raise InputError(f"{what}: {len(dataset.class_names)} class names for {c} classes.")
    missing = np.setdiff1d(dataset.test.label, dataset.train.label).tolist()
    if missing and not (dataset.train.label == UNKNOWN).any():
        names = [dataset.class_names[k] if dataset.class_names else k for k in missing]
        raise InputError(
            f"{what}: test has classes that train lacks, so they cannot be learned: {names}."
        )


def _remedy(low: int, high: int, c: int) -> str:
    """What to do about labels from `low` to `high` of `c` classes."""
    if high - low < c:
        return f"Number them from 0: y - {low}." if low > 0 else f"Number them from 0: y + {-low}."
    return f"Number the classes 0, 1, ..., or say that there are {high + 1}."


def _check_channels(dataset: Dataset, what: str) -> None:
    channels = dataset.train.image.shape[-1]
    for name, value in (("mean", dataset.mean), ("std", dataset.std)):
        if not _are_numbers(value):
            raise InputError(f"{what}: {name} must be one number per channel, not {value!r}.")
        if len(value) != channels:
            raise InputError(
                f"{what}: {name} has {len(value)} numbers and the images {channels} channels: give "
                "one for each."
            )
    if not np.isfinite([*dataset.mean, *dataset.std]).all() or min(dataset.std) <= 0:
        raise InputError(
            f"{what}: mean {dataset.mean} must be finite, and std {dataset.std} above zero."
        )


def _are_numbers(values: Any) -> bool:
    is_number = lambda v: isinstance(v, int | float | np.number) and not isinstance(v, bool)
    return isinstance(values, tuple | list | np.ndarray) and all(map(is_number, values))
