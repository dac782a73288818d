"""How sure an accuracy, and a difference of two, can be on so many test images."""

import math

import numpy as np
from jaxtyping import Bool
from scipy.stats import binom, norm

from kd.metrics.intervals import Interval


def wilson(right: int, n: int, level: float = 0.95) -> Interval:
    """Interval of a share of `right` out of n > 0. Wilson. JASA 22, 1927."""
    p, z = right / n, float(norm.ppf((1 + level) / 2))
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half))


def mcnemar(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> float:
    """Exact two-sided p-value of "a and b are right equally often", from the examples on which one
    alone is right.

    McNemar. Psychometrika 12, 1947; 1.0 where there is no such example.
    """
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    tail = float(binom.cdf(min(only_a, only_b), only_a + only_b, 0.5))
    return min(1.0, 2 * tail)
