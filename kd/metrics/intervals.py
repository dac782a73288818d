"""Intervals of differences between classifiers on the same examples."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kd.metrics.contrasts import over_examples
from kd.metrics.limits import ROUNDING


class Interval(NamedTuple):
    """An estimate and its confidence interval."""

    value: float
    low: float
    high: float


def sign(interval: Interval) -> int:
    """1 or -1 if the interval lies above or below zero, within rounding; 0 if zero is inside."""
    return (interval.low > ROUNDING) - (interval.high < -ROUNDING)


def paired_difference(a: Float[np.ndarray, "r n"], b: Float[np.ndarray, "s n"]) -> Interval:
    """Mean of a minus mean of b with its 95 % interval over test examples and over seeds.

    That of tables, see `kd.metrics.contrasts.over_examples`: new examples, the same of both sides,
    and new seeds would give other numbers. Of one seed a side it is over examples alone.

    Args:
      a: score of each of r seeds on each of n examples, such as 1.0 where it is right.
      b: scores of s seeds of the other side on the same examples.
    """
    difference = over_examples(a, b)
    return Interval(difference.value, difference.low, difference.high)


def accuracy(right: Float[np.ndarray, "s n"]) -> Interval:
    """Mean of scores in [0, 1] with its 95 % interval over examples and seeds, within [0, 1].

    Args:
      right: score of each of s seeds on each of n examples, such as 1.0 where it is right.
    """
    value, low, high = paired_difference(right, np.zeros((1, right.shape[1])))
    return Interval(value, max(0.0, low), min(1.0, high))
