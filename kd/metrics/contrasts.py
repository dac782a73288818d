"""Differences between two networks with intervals and p-values, for many comparisons at once."""

import hashlib
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

_NO_SPREAD = 1e-12
"""Standard error, relative to the numbers, that is only the rounding of equal numbers."""

_CHUNK = 250  # of draws, to bound the memory

_KEPT: dict[tuple, np.ndarray] = {}
"""Means of bootstrap samples by stream and scores."""

_MOST_KEPT = 256  # of 32 kB each


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
    return combined_over_examples((a, b), (1.0, -1.0))[0]


def combined_over_examples(
    scores: Sequence[Float[np.ndarray, "_ n"]],
    weights: Sequence[float],
    bounds: Sequence[float] = (),
    runs: Sequence[object] = (),
) -> tuple[Difference, list[float]]:
    """A weighted sum of mean scores on the same n examples, by the bootstrap of `over_examples`.

    Args:
      scores: of each seed on each example, [s, n], of each network.
      weights: one for each network.
      bounds: other values than zero that the sum is compared with.
      runs: what each network was trained in. Scores of one run, such as on clean and on corrupted
        images, are of the same seeds in each draw. By default each is of another run.

    Returns:
      the sum with its interval, and for each bound the p-value of "the sum is the bound".
    """
    parts = [*zip(weights, scores, strict=True)]
    runs = [*runs] or [*range(len(parts))]
    draws = np.zeros(DRAWS)
    for run, (w, x) in zip(runs, parts, strict=True):
        draws += w * _means(x, runs.index(run) + 1)
    low, high = np.percentile(draws, [2.5, 97.5])
    value = sum(w * float(np.mean(x, dtype=np.float64)) for w, x in parts)
    p, *tests = (_share_beyond(draws, bound) for bound in (0.0, *bounds))
    return Difference(float(value), float(low), float(high), p), tests


def _share_beyond(draws: Float[np.ndarray, " draws"], bound: float) -> float:
    """Twice the share of draws on the rarer side of a bound: a two-sided p-value."""
    tail = 1 + min(np.sum(draws <= bound), np.sum(draws >= bound))
    return min(1.0, 2 * float(tail) / (len(draws) + 1))


def over_seeds(a: Sequence[float], b: Sequence[float]) -> Difference | None:
    """Mean of a minus mean of b by Welch's t-test. Welch. Biometrika 34, 1947.

    Args:
      a: a number of each seed.
      b: those of the other side.

    Returns:
      None if a side has one seed, if neither has any spread, or if a number is not finite: nothing
      is known of it then.
    """
    combined = combined_over_seeds((a, b), (1.0, -1.0))
    return combined[0] if combined else None


def combined_over_seeds(
    values: Sequence[Sequence[float]],
    weights: Sequence[float],
    bounds: Sequence[float] = (),
    runs: Sequence[object] = (),
) -> tuple[Difference, list[float]] | None:
    """A weighted sum of means by Welch's t-test, with the degrees of freedom of Satterthwaite.

    Args:
      values: a number of each seed, of each network.
      weights: one for each network.
      bounds: see `combined_over_examples`.
      runs: likewise. Numbers of one run are summed seed by seed first.

    Returns:
      as `combined_over_examples`; None where `over_seeds` returns None.
    """
    numbers = [abs(number) for x in values for number in x]
    if min(map(len, values)) < 2 or not all(map(math.isfinite, numbers)):
        return None
    sums: dict[object, np.ndarray] = {}
    runs = [*runs] or [*range(len(values))]
    for run, w, x in zip(runs, weights, values, strict=True):
        key = run, len(x)
        sums[key] = sums.get(key, 0.0) + w * np.asarray(x, float)
    parts = [*sums.values()]
    variances = [float(np.var(x, ddof=1)) / len(x) for x in parts]
    error = math.sqrt(sum(variances))
    if error <= _NO_SPREAD * max(numbers):
        return None
    from scipy.special import stdtr, stdtrit

    pairs = zip(variances, parts, strict=True)
    freedom = error**4 / sum(v**2 / (len(x) - 1) for v, x in pairs)
    value = float(sum(np.mean(x) for x in parts))
    half = error * float(stdtrit(freedom, 0.975))
    p, *tests = (2 * float(stdtr(freedom, -abs(value - b) / error)) for b in (0.0, *bounds))
    return Difference(value, value - half, value + half, p), tests


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

    The newest are kept, since a network is compared with several, and several with a baseline.

    Args:
      scores: [s, n].
      stream: number of the generator that draws seeds.
    """
    scores = np.ascontiguousarray(scores)
    key = (stream, scores.shape, scores.dtype.str, hashlib.sha256(scores.data).digest())
    if key not in _KEPT:
        while len(_KEPT) >= _MOST_KEPT:
            del _KEPT[next(iter(_KEPT))]
        _KEPT[key] = _bootstrapped(scores, stream)
    return _KEPT[key]


def _bootstrapped(scores: np.ndarray, stream: int) -> Float[np.ndarray, " draws"]:
    """`_means`, computed."""
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
