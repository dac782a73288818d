"""Labels as users store them, and what to say of those that name no single class."""

from collections.abc import Sequence

import numpy as np

from kd.data.base import UNKNOWN
from kd.errors import InputError

MOST_CLASSES = 2**24
"""Bound of the number of classes: labels and tables of classes are int32."""

CLASSIFICATION = (
    "kd learns classification of one label an example: integers 0, 1, ... of shape [n], or in the "
    "data set `arrays` names"
)


def refusal(label: np.ndarray, n: int, what: str) -> InputError | None:
    """Why `label` cannot be the labels of `n` examples; None if they are n integers."""
    if label.shape == (n,) and label.dtype.kind in "iub":
        return None
    if label.shape == (n,):
        return InputError(
            f"{what}: labels must be integers (0, 1, ...), not {label.dtype}. {_advice(label)} "
            f"{CLASSIFICATION}."
        )
    return InputError(
        f"{what}: {n} images need labels of shape [{n}], not {list(label.shape)}. "
        f"{_advice(label) if label.ndim == 2 else ''}{' ' * (label.ndim == 2)}{CLASSIFICATION}."
    )


def _advice(label: np.ndarray) -> str:
    """What such labels probably are, and what to store in their place."""
    if label.dtype.kind in "US":
        return (
            "They are texts: number them, `names, y = numpy.unique(y, return_inverse=True)`, and "
            "give the names as class_names."
        )
    if label.dtype.kind not in "iubf" or not label.size:
        return "Their type is no label's."
    if label.ndim == 1:
        if np.isfinite(label).all() and (label == np.round(label)).all():
            return "They are integers stored as floats: store y.astype(int)."
        return (
            "Real numbers as targets are regression, which kd does not learn: divide them into "
            "classes, as by numpy.digitize."
        )
    if np.isin(label, (0, 1)).all():
        if (label.sum(1) == 1).all():
            return "They are one-hot: store y.argmax(axis=1)."
        return "Several labels an example (multi-label) are not learned: take one of them."
    if (label >= 0).all() and np.allclose(label.sum(1), 1, atol=1e-3):
        return (
            "They are probabilities (soft labels): store y.argmax(axis=1); soft targets come from "
            "a teacher."
        )
    return "Several numbers an example are regression or several tasks, which kd does not learn."


def numbered(
    train: np.ndarray, test: np.ndarray, class_names: Sequence[str], what: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Labels of both splits as integers, and the names of the classes.

    Args:
      train: labels [n] or [n, 1], integers or names.
      test: likewise.
      class_names: their order; by default names are sorted.
      what: name of the data in messages.

    Raises:
      InputError: names that `class_names` lacks, or names in one split only.
    """
    train, test = _column(train), _column(test)
    names = tuple(str(name) for name in class_names)
    texts = [label.dtype.kind in "US" for label in (train, test)]
    if not any(texts) or train.ndim != 1 or test.ndim != 1:
        return train, test, names
    if not all(texts):
        raise InputError(
            f"{what}: labels of train are {train.dtype} and of test {test.dtype}. Store both alike."
        )
    train, test = _texts(train, what), _texts(test, what)
    names = names or tuple(np.unique(np.concatenate([train, test])).tolist())
    place = {name: number for number, name in enumerate(names)}
    beyond = sorted({*train.tolist(), *test.tolist()} - place.keys())
    if beyond:
        raise InputError(
            f"{what}: labels that class_names lacks: {', '.join(map(repr, beyond[:5]))}"
            f"{', ...' * (len(beyond) > 5)}."
        )
    number = lambda label: np.array([place[name] for name in label.tolist()], np.int64)
    return number(train), number(test), names


def _column(label: np.ndarray) -> np.ndarray:
    return label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label


def _texts(label: np.ndarray, what: str) -> np.ndarray:
    if label.dtype.kind == "U":
        return label
    try:
        return np.char.decode(label, "utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{what}: names of classes must be UTF-8.") from None


def count(label: np.ndarray, what: str) -> int:
    """The number of classes where nobody says it: labels must be 0, 1, ... without a gap.

    Raises:
      InputError: they begin after 0, or have gaps.
    """
    if label.dtype.kind not in "iu" or not label.size:
        return 2  # `kd.data.check` reports what is wrong with such labels
    present = np.unique(label[label != UNKNOWN])
    if not len(present):
        return 2
    low, high, different = int(present[0]), int(present[-1]), len(present)
    if low > 0:
        raise InputError(
            f"{what}: labels run from {low} to {high} and none is 0. Number the {different} "
            f"classes from 0, as by y - {low}; or say how many there are, classes = {high + 1}, "
            "if those before have no example."
        )
    if low == 0 and high >= different:
        raise InputError(
            f"{what}: labels go up to {high}, but only {different} different ones occur in train. "
            f"Number the classes 0, 1, ... without gaps, or set classes = {high + 1}."
        )
    return high + 1 if low == 0 else different
