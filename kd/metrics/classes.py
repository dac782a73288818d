"""Scores of each class, from the confusion matrix; in NumPy and float64.

Fractions are in [0, 1]; NaN where a score is not defined, such as the recall of a class without
examples.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num


class ClassScores(NamedTuple):
    """Scores of each class, [..., c].

    Attributes:
      recall: part of the class's examples that are predicted as the class.
      precision: part of the predictions of the class that are right.
      f1: harmonic mean of the two, 2 TP / (2 TP + FP + FN).
    """

    recall: Float[np.ndarray, "... c"]
    precision: Float[np.ndarray, "... c"]
    f1: Float[np.ndarray, "... c"]


def confusion(
    logits: Float[np.ndarray, "... n c"], label: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "... c c"]:
    """The confusion matrix: how many examples of the class of the row are predicted as the class of
    the column.

    Args:
      logits: with any leading axes (seeds, members).
      label: from 0 to c - 1.
    """
    c = logits.shape[-1]
    answers = logits.argmax(-1).reshape(-1, len(label))
    counts = [np.bincount(label * c + row, minlength=c * c) for row in answers]
    return np.stack(counts).reshape(*logits.shape[:-2], c, c)


def class_scores(matrix: Num[np.ndarray, "... c c"]) -> ClassScores:
    """Recall, precision and F1 of each class of a confusion matrix of counts or weights."""
    right = np.einsum("...kk->...k", matrix)
    examples, predictions = matrix.sum(-1), matrix.sum(-2)
    return ClassScores(
        _ratio(right, examples),
        _ratio(right, predictions),
        _ratio(2 * right, examples + predictions),
    )


def _ratio(part: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.divide(part, of, out=np.full(part.shape, np.nan), where=of > 0)


def _accuracy(matrix: Num[np.ndarray, "... c c"]) -> Float[np.ndarray, "..."]:
    return np.einsum("...kk->...", matrix) / matrix.sum((-2, -1))


def balanced_accuracy(matrix: Num[np.ndarray, "... c c"]) -> Float[np.ndarray, "..."]:
    """The mean recall of the classes that have examples.

    Brodersen, Ong, Stephan, Buhmann. The Balanced Accuracy and Its Posterior Distribution. ICPR
    2010, section 2, for any number of classes.
    """
    return mean_of_classes(class_scores(matrix).recall)


def mean_of_classes(values: Float[np.ndarray, "... c"]) -> Float[np.ndarray, "..."]:
    """The mean over the classes for which a score is defined (macro average); NaN without any."""
    defined = ~np.isnan(values)
    total, number = np.where(defined, values, 0.0).sum(-1), defined.sum(-1)
    return _ratio(np.asarray(total), np.asarray(number))


def is_uneven(label: Int[np.ndarray, " n"]) -> bool:
    """Whether a class has more than twice as many examples as another that has some."""
    count = np.unique(label, return_counts=True)[1]
    return bool(count.max() > 2 * count.min())


OVERALL: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": balanced_accuracy,
}
"""Scores of all classes together, from a confusion matrix, by name."""

BY_CLASS = ClassScores._fields
"""Names of the scores of each class."""


def as_lists(
    logits: Float[np.ndarray, "s n c"], label: Int[np.ndarray, " n"]
) -> dict[str, list[list[float | None]]]:
    """The scores of each class by name, a list over networks of lists over classes, for JSON: None
    where a score is not defined.
    """
    plain = lambda row: [None if np.isnan(v) else float(v) for v in row]
    scores = class_scores(confusion(logits, label))
    return {name: [plain(row) for row in values] for name, values in scores._asdict().items()}
