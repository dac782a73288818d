"""What a data set consists of, counted: classes, equal examples, values out of their scale.

NumPy only; `kd data` prints it. What follows from one split alone is in functions of a `Split`.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from kd.data import remarks
from kd.data.base import UNKNOWN, Dataset, Split
from kd.data.class_weights import counts
from kd.data.pictures import Pictures
from kd.values import counted

RARE = 0.5
"""A class is rare with less than this part of the median number of images of a class."""

SAMPLE = 256
"""Streamed pictures that are decoded to look at their values."""

LISTED = 3
"""Examples, or classes, that a remark names."""


def rare_classes(dataset: Dataset) -> list[int]:
    """The classes with few labelled training images, the rarest first."""
    count = counts(dataset.train.label, dataset.num_classes)
    few = np.flatnonzero(count < RARE * np.median(count[count > 0] if count.any() else count))
    return [int(k) for k in few[np.argsort(count[few], kind="stable")]]


def repeated(split: Split) -> list[tuple[int, int]] | None:
    """(place, first place) of each example that equals an earlier one; None if they cannot be
    compared.
    """
    keys = remarks.keys(split.image)
    if keys is None:
        return None
    first: dict[int, int] = {}
    pairs = []
    for i, key in enumerate(keys):
        j = first.setdefault(key, i)
        if j != i and remarks.equal(split.image, i, split.image, j):
            pairs.append((i, j))
    return pairs


def values(split: Split) -> np.ndarray:
    """The images of a split, or a sample of pictures that are decoded when needed."""
    if not isinstance(split.image, Pictures):
        return split.image
    n = len(split.image)
    return split.image.centered(np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(int)))


def constant(image: np.ndarray) -> np.ndarray:
    """Indices of the examples whose values are all equal. Rows of one column are none."""
    rows = image.reshape(len(image), -1)
    if rows.shape[1] < 2:
        return np.zeros(0, int)
    return np.flatnonzero((rows == rows[:, :1]).all(axis=1))


def all_remarks(dataset: Dataset, split: str = "test") -> Iterator[str]:
    """Sentences about what looks wrong, or should be known before training."""
    yield from _of_classes(dataset)
    yield from _of_equal_examples(dataset, split)
    yield from _of_values(dataset, split)
    yield from filter(None, (remarks.far_from_normal(dataset), remarks.channels_first(dataset)))


def _of_classes(dataset: Dataset) -> Iterator[str]:
    label, c = dataset.train.label, dataset.num_classes
    name = lambda k: dataset.class_names[k] if dataset.class_names else f"class {k}"
    if unknown := int((label == UNKNOWN).sum()):
        yield f"{unknown:,} training images ({100 * unknown / len(label):z.1f} %) have no label."
    count = counts(label, c)
    rare = rare_classes(dataset)
    if rare:
        shown = [f"{name(k)} ({count[k]:,})" for k in rare[:LISTED]]
        more = f" and {len(rare) - LISTED} others" if len(rare) > LISTED else ""
        yield (
            f"rare: {', '.join(shown)}{more}, where the median class has "
            f"{int(np.median(count)):,} labelled training images. Look at the balanced accuracy; "
            "config.data.sampling = 'balanced' or class weights make them count more."
        )
    untested = np.flatnonzero((counts(dataset.test.label, c) == 0) & (count > 0))
    if len(untested):
        names = ", ".join(name(k) for k in untested[:LISTED])
        more = f" and {len(untested) - LISTED} others" if len(untested) > LISTED else ""
        yield f"no test image is of {names}{more}: nothing is measured of them."


def _of_equal_examples(dataset: Dataset, split: str) -> Iterator[str]:
    splits = {"train": dataset.train, split: dataset.test}
    for place, (name, part) in enumerate(splits.items()):
        pairs = repeated(part)
        if not pairs:
            continue
        files = dataset.files[place] if dataset.files else None
        shown = ", ".join(
            f"{files[i]} = {files[j]}" if files else f"{i} = {j}" for i, j in pairs[:LISTED]
        )
        label = part.label
        differ = sum(int(label[i] != label[j] and min(label[i], label[j]) >= 0) for i, j in pairs)
        text = f"{counted(len(pairs), 'example')} of {name} equal to an earlier one: {shown}"
        text += " and more" * (len(pairs) > LISTED)
        yield f"{text}{f'; {differ:,} of them with another label' if differ else ''}."
    if leaked := remarks.leaked(dataset, split):
        yield leaked


def _of_values(dataset: Dataset, split: str) -> Iterator[str]:
    train, test = values(dataset.train), values(dataset.test)
    for name, image in (("train", train), (split, test)):
        if len(same := constant(image)):
            shown = ", ".join(map(str, same[:LISTED])) + ", ..." * (len(same) > LISTED)
            yield f"{counted(len(same), 'example')} of {name} with one value everywhere: {shown}."
    yield from _of_scale(dataset, train)
    axes = tuple(range(train.ndim - 1))
    center, deviation = train.mean(axes, np.float64), train.std(axes, dtype=np.float64)
    yield from _of_channels(center, deviation)
    shift = np.abs(test.mean(axes, np.float64) - center) > np.maximum(deviation, 1e-12)
    spread = test.std(axes, dtype=np.float64) / np.maximum(deviation, 1e-12)
    other = shift | (spread > 3) | ((spread < 1 / 3) & (deviation > 0))
    if other.any():
        k = int(other.argmax())
        yield (
            f"{split} has another scale than train: in channel {k} mean "
            f"{test.mean(axes, np.float64)[k]:z.4g} and deviation "
            f"{spread[k] * max(deviation[k], 1e-12):z.4g}, in train {center[k]:z.4g} and "
            f"{deviation[k]:z.4g}. Prepare both alike."
        )


def _of_scale(dataset: Dataset, image: np.ndarray) -> Iterator[str]:
    """Pixels in floats, and fractions in pixels."""
    low, high = float(image.min()), float(image.max())
    if image.dtype == np.uint8 and image.ndim == 4 and high <= 16:
        yield (
            f"pixels are uint8 and at most {int(high)} of 255: nearly black. Scale them to 0 to "
            "255, or store floats."
        )
    looks_like_pixels = image.dtype != np.uint8 and image.ndim == 4 and low >= 0 and 16 < high < 256
    if looks_like_pixels and max(dataset.std) < 4:
        yield (
            f"the floats run from {low:z.4g} to {high:z.4g}, as pixels of 0 to 255 do, and are not "
            "normalised. Store them as uint8, or set mean and std."
        )


def _of_channels(center: np.ndarray, deviation: np.ndarray) -> Iterator[str]:
    """Channels of another range than the others."""
    if len(center) < 2:
        return
    constants = np.flatnonzero(deviation == 0)
    if 0 < len(constants) < len(deviation):
        yield f"{_channels(constants)} the same value in all training examples."
    usual = np.median(deviation[deviation > 0]) if (deviation > 0).any() else 0.0
    far = np.flatnonzero((deviation > 10 * usual) | ((deviation < usual / 10) & (deviation > 0)))
    if usual and len(far):
        k = int(far[0])
        yield (
            f"{_channels(far)} another range than the others: deviation {deviation[k]:z.4g} of "
            f"channel {k}, where the median channel has {usual:z.4g}."
        )


def _channels(numbers: Sequence[int] | np.ndarray) -> str:
    shown = ", ".join(map(str, numbers[:LISTED]))
    more = f" and {len(numbers) - LISTED} others" if len(numbers) > LISTED else ""
    return (
        f"channel{'s' * (len(numbers) > 1)} {shown}{more} {'have' if len(numbers) > 1 else 'has'}"
    )
