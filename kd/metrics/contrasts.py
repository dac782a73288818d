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
"""Means and deviations of bootstrap samples by stream and scores."""

_MOST_KEPT = 256  # of 64 kB each


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

    Few seeds drawn with replacement spread less than new seeds would: without a difference, and
    with seeds that vary more than images, p would be below 0.05 in 28 % of comparisons of two seeds
    a side, in 11 % of five. So a draw's deviation from the mean of the seeds is multiplied by
    sqrt(s / (s - 1)) and by sqrt(f / chi-square(f)), f being the degrees of freedom of Welch's
    test. Where only seeds vary, the interval is then that of Welch's test.

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
    draws, deviations = np.zeros((2, DRAWS))
    for run, (w, x) in zip(runs, parts, strict=True):
        means, between = _resampled(x, runs.index(run) + 1)
        draws += w * means
        deviations += w * between
    of_seeds = _summed([np.mean(x, axis=1, dtype=np.float64) for x in scores], weights, runs)
    draws += _student(_freedom([x for x in of_seeds if len(x) > 1])) * deviations
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
    parts = _summed(values, weights, [*runs] or [*range(len(values))])
    error = math.sqrt(sum(_variances(parts)))
    if error <= _NO_SPREAD * max(numbers):
        return None
    from scipy.special import stdtr, stdtrit

    freedom = _freedom(parts)
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


def _summed(
    values: Sequence[Sequence[float] | np.ndarray],
    weights: Sequence[float],
    runs: Sequence[object],
) -> list[np.ndarray]:
    """The weighted numbers of each run, summed seed by seed over its networks."""
    sums: dict[object, np.ndarray] = {}
    for run, w, x in zip(runs, weights, values, strict=True):
        key = run, len(x)
        sums[key] = sums.get(key, 0.0) + w * np.asarray(x, float)
    return [*sums.values()]


def _variances(parts: Sequence[np.ndarray]) -> list[float]:
    """The variance of the mean of each part's numbers, two or more."""
    return [float(np.var(x, ddof=1)) / len(x) for x in parts]


def _freedom(parts: Sequence[np.ndarray]) -> float:
    """Welch's degrees of freedom of the sum of the parts' means; infinite without any spread."""
    variances = _variances(parts)
    denominator = sum(v**2 / (len(x) - 1) for v, x in zip(variances, parts, strict=True))
    return sum(variances) ** 2 / denominator if denominator else math.inf


def _student(freedom: float) -> Float[np.ndarray, " draws"]:
    """Factors that make normal deviations those of Student's t, one for each draw."""
    if math.isinf(freedom):
        return np.ones(DRAWS)
    return np.sqrt(freedom / np.random.default_rng(0).chisquare(freedom, DRAWS))


def _resampled(scores: np.ndarray, stream: int) -> Float[np.ndarray, "2 draws"]:
    """For each bootstrap sample of examples the mean over all seeds, and the deviation from it of a
    sample of the seeds, with the variance of a mean of new seeds.

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
        _KEPT[key] = _drawn(scores, stream)
    return _KEPT[key]


def _drawn(scores: np.ndarray, stream: int) -> Float[np.ndarray, "2 draws"]:
    """`_resampled`, computed."""
    s, n = scores.shape
    seeds = np.random.default_rng([stream, s]).multinomial(s, np.full(s, 1 / s), size=DRAWS) / s
    unbiased = math.sqrt(s / (s - 1)) if s > 1 else 0.0
    weights = np.stack([np.full(seeds.shape, 1 / s), unbiased * (seeds - 1 / s)])
    scores = np.asarray(scores, np.float64)
    parts = []
    for i in range(0, DRAWS, _CHUNK):
        means = scores @ (_counts(n)[i : i + _CHUNK].T / n)
        parts.append(np.einsum("kds,sd->kd", weights[:, i : i + _CHUNK], means))
    return np.concatenate(parts, axis=1)


@lru_cache(maxsize=1)
def _counts(n: int) -> np.ndarray:
    """How often each of n examples is in each draw, uint8 [DRAWS, n]."""
    generator = np.random.default_rng(n)
    counts = np.empty((DRAWS, n), np.uint8)
    for row in counts:
        row[:] = np.bincount(generator.integers(0, n, n), minlength=n)
    return counts
