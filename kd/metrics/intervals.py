"""Paired bootstrap intervals for differences between classifiers.

Why not `scipy.stats.bootstrap` (SciPy 1.18, measured with five seeds a side): it resamples one
axis. Over examples alone its interval on 10,000 examples is [3.66, 4.37] points where that over
examples and seeds is [3.53, 4.48]. Examples and seeds can be resampled jointly by passing it three
samples of indices; that gives the same interval but for Monte Carlo error, [3.55, 4.49], in the
same time (1.6 s against 1.8 s; on 360 examples 0.09 s against 0.08 s). So it would save ten lines
and add a trick, and every interval that is published would move in its last digits, for other
random draws.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kd.metrics.limits import ROUNDING


class Interval(NamedTuple):
    """An estimate and its confidence interval."""

    value: float
    low: float
    high: float


def sign(interval: Interval) -> int:
    """1 or -1 if the interval lies above or below zero, within rounding; 0 if zero is inside."""
    return (interval.low > ROUNDING) - (interval.high < -ROUNDING)


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
