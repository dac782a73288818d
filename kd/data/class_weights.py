"""Weights of classes, by which the loss of their images is multiplied. NumPy only."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from kd import values
from kd.data.base import UNKNOWN, Dataset
from kd.errors import InputError, unknown
from kd.ranges import is_number, short

BALANCED = "balanced"

NAMED = 6
"""Classes that a message names."""


def counts(label: Int[np.ndarray, " n"], num_classes: int) -> Int[np.ndarray, " c"]:
    """Number of examples of each class; those whose label is unknown do not count."""
    return np.bincount(label[label != UNKNOWN], minlength=num_classes)


def balanced(count: Int[np.ndarray, " c"]) -> tuple[float, ...]:
    """n / (c count_k) for each class k: inversely proportional to its images, of mean 1 over them.

    King, Zeng. Logistic Regression in Rare Events Data. Political Analysis 9, 2001. These are
    scikit-learn's weights of the same name.

    Args:
      count: images of each class, none of them 0.

        >>> balanced(np.array([8, 1, 1]))
        (0.4166666666666667, 3.3333333333333335, 3.3333333333333335)
    """
    return tuple(float(count.sum() / (len(count) * k)) for k in count)


def resolve(weights: Any, dataset: Dataset, key: str) -> tuple[float, ...]:
    """One weight for each class, [c].

    Args:
      weights: "balanced", see `balanced`; a weight for each class; or {class: weight} by name or
        number, where the classes that it leaves out have the weight 1.
      dataset: whose labelled training images are counted.
      key: of the setting, for messages.

    Raises:
      InputError: weights that are negative, not finite, all zero, of another number than the
        classes or of unknown classes; or "balanced" where a class has no training image.
    """
    c = dataset.num_classes
    if isinstance(weights, str):
        if weights != BALANCED:
            raise unknown(f"value of {key}", weights, (BALANCED,))
        count = counts(dataset.train.label, c)
        if (count == 0).any():
            raise InputError(
                f"{key} = {BALANCED!r}: no labelled training image is of "
                f"{_classes(np.flatnonzero(count == 0), dataset)}, whose weight would be infinite. "
                "Give the weights as numbers, or add images."
            )
        return balanced(count)
    if isinstance(weights, Mapping):
        numbers = [1.0] * c
        for name, weight in weights.items():
            numbers[class_number(name, dataset, key)] = _number(weight, f"{key}.{name}")
    elif len(weights) != c:
        raise InputError(
            f"{key}: expected {c} numbers, one for each class, got {len(weights)}: "
            f"{short(tuple(weights))}."
        )
    else:
        numbers = [_number(weight, f"{key}[{k}]") for k, weight in enumerate(weights)]
    count = counts(dataset.train.label, c)
    if not any(weight for weight, images in zip(numbers, count, strict=True) if images):
        raise InputError(
            f"{key}: the weights of all classes that have training images are 0, so that nothing "
            "would be learned. Give one of them a positive weight."
        )
    return tuple(numbers)


def class_number(name: Any, dataset: Dataset, key: str) -> int:
    """The number of a class, from its name or from its number as text. Raises InputError."""
    return values.class_number(name, dataset.num_classes, dataset.class_names, key)


def _number(weight: Any, key: str) -> float:
    if not is_number(weight) or not 0 <= weight < np.inf:
        raise InputError(f"{key}: expected a number, 0 or more, got {short(weight)}.")
    return float(weight)


def _classes(numbers: Sequence[int] | np.ndarray, dataset: Dataset) -> str:
    """Such as "class 3" or "classes 'cat', 'dog' and 4 others"."""
    names = dataset.class_names
    first = [repr(names[k]) if names else str(k) for k in numbers[:NAMED]]
    more = f" and {len(numbers) - NAMED} others" if len(numbers) > NAMED else ""
    return f"class{'es' * (len(numbers) > 1)} {', '.join(first)}{more}"
