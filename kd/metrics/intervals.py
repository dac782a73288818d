"""Paired bootstrap intervals for differences between classifiers, and limits of figures."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Interval(NamedTuple):
    """An estimate and its confidence interval."""

    value: float
    low: float
    high: float


def paired_difference(
    a: Float[np.ndarray, "r n"],
    b: Float[np.ndarray, "s n"],
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of a minus mean of b, with a percentile interval over test examples and over seeds.

    Both sides are scored on the same n examples, so each draw takes the same examples of both; the
    seeds of the two sides are drawn independently. Efron, Tibshirani. An Introduction to the
    Bootstrap. 1993, chapter 13.

    Args:
      a: score of each seed on each example, such as 1.0 where it is right.
      b: scores of the other side.
      level: confidence level of the interval.
      draws: number of bootstrap samples.
      seed: seed of the generator.
    """
    generator = np.random.default_rng(seed)
    n = a.shape[1]
    a, b = np.asarray(a, float), np.asarray(b, float)

    def resampled(scores: np.ndarray, examples: np.ndarray) -> float:
        s = len(scores)
        seeds = generator.multinomial(s, np.full(s, 1 / s)) / s
        return float(seeds @ (scores @ examples))

    differences = np.empty(draws)
    for i in range(draws):
        examples = generator.multinomial(n, np.full(n, 1 / n)) / n
        differences[i] = resampled(a, examples) - resampled(b, examples)
    tail = 50 * (1 - level)
    low, high = np.percentile(differences, [tail, 100 - tail])
    return Interval(float(a.mean() - b.mean()), float(low), float(high))


ROUNDING = 1e-9
"""Tolerance of limits: in binary 0.9 - 0.897 is more than 0.003, in its last bits. One image of a
million is a thousand times that.
"""


def at_most(value: float, limit: float, slack: float = ROUNDING) -> bool:
    """True if value <= limit (within rounding); NaN is False."""
    return value <= limit + slack


def at_least(value: float, limit: float, slack: float = ROUNDING) -> bool:
    """True if value >= limit (within rounding); NaN is False."""
    return value >= limit - slack
