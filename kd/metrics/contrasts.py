"""Differences between two networks with intervals and p-values, for many comparisons at once."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

DRAWS = 4000
"""Bootstrap samples. The smallest p-value is 2 / (DRAWS + 1), small enough for Holm's correction
over a hundred comparisons at 0.05.
"""

_CHUNK = 250  # of draws, to bound the memory


class Difference(NamedTuple):
    """A difference of means.

    Attributes:
      value: the difference.
      low: lower end of its 95 % interval.
      high: upper end.
      p: two-sided p-value of "there is no difference".
    """

    value: float
    low: float
    high: float
    p: float


def over_examples(a: Float[np.ndarray, "r n"], b: Float[np.ndarray, "s n"]) -> Difference:
    """Mean of scores a minus mean of scores b on the same n examples, by a paired bootstrap.

    Each draw takes n examples with replacement, the same for both sides, and seeds of each side
    with replacement. The interval is that of percentiles; p counts the draws on either side of
    zero. Efron, Tibshirani. An Introduction to the Bootstrap. 1993, chapters 13 and 16. Draws are
    the same in every call, so that comparisons with a common side agree.

    Args:
      a: score of each of r seeds on each example.
      b: scores of s seeds of the other side.
    """
    draws = _means(a, stream=1) - _means(b, stream=2)
    low, high = np.percentile(draws, [2.5, 97.5])
    tail = 1 + min(np.sum(draws <= 0), np.sum(draws >= 0))
    p = min(1.0, 2 * float(tail) / (len(draws) + 1))
    value = float(np.mean(a, dtype=np.float64) - np.mean(b, dtype=np.float64))
    return Difference(value, float(low), float(high), p)


def over_seeds(a: Sequence[float], b: Sequence[float]) -> Difference | None:
    """Mean of a minus mean of b by Welch's t-test. Welch. Biometrika 34, 1947.

    Args:
      a: a number of each seed.
      b: those of the other side.

    Returns:
      None if a side has one seed, or if neither has any spread: nothing is known of it then.
    """
    if min(len(a), len(b)) < 2:
        return None
    parts = [float(np.var(x, ddof=1)) / len(x) for x in (a, b)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return None
    from scipy.special import stdtr, stdtrit

    freedom = error**4 / sum(v**2 / (len(x) - 1) for v, x in zip(parts, (a, b), strict=True))
    value = float(np.mean(a) - np.mean(b))
    half = error * float(stdtrit(freedom, 0.975))
    p = 2 * float(stdtr(freedom, -abs(value) / error))
    return Difference(value, value - half, value + half, p)


def holm(p: Sequence[float]) -> list[float]:
    """Each p-value, corrected for the number of tests. Holm. Scand. J. Statist. 6, 1979.

    The tests whose corrected p is below 0.05 contain a false one with a probability below 0.05.
    """
    corrected, largest = [1.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = largest
    return corrected


def _means(scores: np.ndarray, stream: int) -> Float[np.ndarray, " draws"]:
    """The mean of each bootstrap sample of examples and seeds.

    Args:
      scores: [s, n].
      stream: number of the generator that draws seeds.
    """
    s, n = scores.shape
    seeds = np.random.default_rng([stream, s]).multinomial(s, np.full(s, 1 / s), size=DRAWS) / s
    scores = np.asarray(scores, np.float64)
    means = [
        np.einsum("ds,sd->d", seeds[i : i + _CHUNK], scores @ (_counts(n)[i : i + _CHUNK].T / n))
        for i in range(0, DRAWS, _CHUNK)
    ]
    return np.concatenate(means)


@lru_cache(maxsize=1)
def _counts(n: int) -> np.ndarray:
    """How often each of n examples is in each draw, uint8 [DRAWS, n]."""
    generator = np.random.default_rng(n)
    counts = np.empty((DRAWS, n), np.uint8)
    for row in counts:
        row[:] = np.bincount(generator.integers(0, n, n), minlength=n)
    return counts
