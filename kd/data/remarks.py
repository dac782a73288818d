"""What a user should know of a data set before training: its size, and what looks wrong in it."""

import sys

import numpy as np

from kd.data.base import UNKNOWN, Dataset, Split
from kd.data.pictures import Pictures
from kd.files import escaping

SAMPLE = 10_000  # training examples whose mean and deviation are computed

NOUNS = {1: "rows", 2: "series", 3: "images"}
"""What examples are called, by the rank of one."""


def summary(dataset: Dataset, split: str = "test") -> str:
    """One line, such as "1,437 training and 360 test images, 8 x 8 x 1, uint8, 10 classes".

    Args:
      dataset: the data set.
      split: what its `test` is: test, or validation where it was held out of train.
    """
    shape = dataset.train.image.shape[1:]
    noun = NOUNS.get(len(shape), "examples")
    counts = f"{len(dataset.train.label):,} training"
    if unknown := int((dataset.train.label == UNKNOWN).sum()):
        counts += f" ({len(dataset.train.label) - unknown:,} labelled)"
    if dataset.validation is not None:
        counts += f", {len(dataset.validation.label):,} validation"
    size = " x ".join(map(str, shape)) + (" columns" if len(shape) == 1 else "")
    return (
        f"{counts} and {len(dataset.test.label):,} {split} {noun}, {size}, "
        f"{dataset.train.image.dtype}, {dataset.num_classes} classes"
    )


def tell(dataset: Dataset, what: str, leaks: bool = True) -> None:
    """Prints to standard error what looks wrong in a data set.

    Args:
      dataset: the data set.
      what: its name.
      leaks: whether test may not be train.
    """
    texts = (leaked(dataset) if leaks else "", far_from_normal(dataset), channels_first(dataset))
    for text in texts:
        if text:
            print(escaping.message(f"kd: {what}: {text}"), file=sys.stderr, flush=True)


def leaked(dataset: Dataset, split: str = "test") -> str:
    """How many test examples are byte for byte in train as well, and the first three; "" if none.

    Of streamed pictures the encoded bytes are compared, where they were read to get the labels.
    """
    pairs = equal_examples(dataset.train, dataset.test)
    if pairs is None:
        return f"whether pictures of {split} are also in train was not compared."
    if not pairs:
        return ""
    train, test = dataset.files or (None, None)
    name = lambda kind, files, i: files[i] if files else f"{kind} {i}"
    first = ", ".join(f"{name(split, test, i)} = {name('train', train, j)}" for i, j in pairs[:3])
    noun = NOUNS.get(len(dataset.train.image.shape) - 1, "examples")
    return (
        f"{len(pairs):,} of {len(dataset.test.label):,} {split} {noun} are byte for byte in train "
        f"as well: {first}{' and more' * (len(pairs) > 3)}. They are no "
        "evidence for new data: remove them from one of the two."
    )


def equal_examples(train: Split, test: Split) -> list[tuple[int, int]] | None:
    """(place in test, first place in train) of each test example that equals a training example;
    None if they cannot be compared.
    """
    ours, theirs = keys(train.image), keys(test.image)
    if ours is None or theirs is None:
        return None
    wanted = set(theirs)
    place: dict = {}
    for j, key in enumerate(ours):
        if key in wanted:
            place.setdefault(key, j)
    alike = ((i, place[key]) for i, key in enumerate(theirs) if key in place)
    return [(i, j) for i, j in alike if equal(train.image, j, test.image, i)]


def keys(image: np.ndarray | Pictures) -> list[int] | None:
    """A number for each example, equal for equal ones."""
    if isinstance(image, Pictures):
        return None if image.digests is None else image.digests[image.places].tolist()
    rows = np.ascontiguousarray(image).reshape(len(image), -1)
    return [hash(row.tobytes()) for row in rows]


def equal(a: np.ndarray | Pictures, i: int, b: np.ndarray | Pictures, j: int) -> bool:
    """Whether two examples whose numbers in `keys` are equal are equal themselves."""
    if isinstance(a, Pictures) or isinstance(b, Pictures):
        return True  # digests of 64 bits are equal
    return a[i].tobytes() == b[j].tobytes()


def channels_first(dataset: Dataset) -> str:
    """That images look as if their channels were in the first axis; "" if they do not."""
    shape = dataset.train.image.shape[1:]
    if len(shape) != 3 or not shape[0] <= 4 < shape[2]:
        return ""
    h, w, c = shape
    return (
        f"images are {h} x {w} with {c} channels. If they are {w} x {c} with {h} channels, move "
        "those to the last axis: image.transpose(0, 2, 3, 1)."
    )


def far_from_normal(dataset: Dataset) -> str:
    """That floats, after `mean` and `std`, are far from zero mean and unit deviation; "" if not."""
    image = dataset.train.image
    if isinstance(image, Pictures) or image.dtype.kind != "f":
        return ""
    sample = image[:: max(1, len(image) // SAMPLE)].reshape(-1, image.shape[-1])
    sample = sample.astype(np.float64)
    center, deviation = sample.mean(0), sample.std(0)
    mean = (center - dataset.mean) / dataset.std
    std = deviation / dataset.std
    far = (np.abs(mean) > 1) | (std > 10) | ((std < 0.1) & (std > 0))
    if not far.any():
        return ""
    k, n = int(far.argmax()), len(far)
    numbers = lambda values: f"({', '.join(f'{v:z.4g}' for v in values)}{',' * (n == 1)})"
    remedy = f"mean = {numbers(center)} and std = {numbers(np.where(deviation > 0, deviation, 1))}"
    if n > 16:
        remedy = f"mean and std, {n} numbers each, those of the training data"
    return (
        f"the floats are far from zero mean and unit deviation in {far.sum():,} of {n:,} channels: "
        f"in channel {k} the mean is {mean[k]:z.4g} and the deviation {std[k]:z.4g}. Networks "
        f"learn badly from such values. Set {remedy} (config.data, where its data set takes them), "
        "or standardize them before saving."
    )
