"""Differences between two networks with intervals and p-values, for many comparisons at once."""

import math
from collections.abc import Generator, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kd.metrics.limits import ROUNDING

DRAWS = 4000
"""Bootstrap samples. The smallest p-value is 2 / (DRAWS + 1), small enough for Holm's correction
over a hundred comparisons at 0.05.
"""

_NO_SPREAD = 1e-12
"""Standard error, relative to the numbers, that is only the rounding of equal numbers."""

_FEW_IMAGES = 10
"""Images with another score than most, below which the draws of the mean are far from normal."""

_CHUNK = 250  # of draws, to bound the memory

_MOST_KEPT = 16_000
"""Examples above which the draws are not kept for the next comparison: 64 MB."""


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
    test: where only seeds vary, the interval is that of Welch's test. What differs between seeds on
    one image, and between images for one seed, is counted once, as in the analysis of variance with
    two random factors: the deviations of images are reduced by the variance of their interaction,
    or of the seeds where that is less, and not where fewer than ten images have another difference
    than most.

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
    parts = _summed(scores, weights, [*runs] or [*range(len(scores))])
    value = float(sum(np.mean(x) for x in parts))
    draws = value + _of_images(parts) + _of_seeds([np.mean(x, axis=1) for x in parts])
    draws[np.abs(draws) <= ROUNDING] = 0.0
    low, high = np.percentile(draws, [2.5, 97.5]).tolist()
    p, *tests = (_share_beyond(draws, bound) for bound in (0.0, *bounds))
    return Difference(value, low, high, p), tests


def _share_beyond(draws: Float[np.ndarray, " draws"], bound: float) -> float:
    """Twice the share of draws on the rarer side of a bound, or at it: a two-sided p-value."""
    tail = 1 + min(np.sum(draws <= bound + ROUNDING), np.sum(draws >= bound - ROUNDING))
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


def t_factors(s: int, draws: int) -> Float[np.ndarray, " draws"]:
    """What the deviations of a mean of s seeds, drawn with replacement, are multiplied by in each
    draw, so that they spread as Student's t with s - 1 degrees of freedom. Ones for one seed.
    """
    return math.sqrt(s / (s - 1)) * _welch_factors(s - 1, draws) if s > 1 else np.ones(draws)


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
    """The weighted numbers of each run's networks, summed seed by seed."""
    sums: dict[object, np.ndarray] = {}
    for run, w, x in zip(runs, weights, values, strict=True):
        key = run, len(x)
        sums[key] = sums.get(key, 0.0) + w * np.asarray(x, np.float64)
    return [*sums.values()]


def _variances(parts: Sequence[np.ndarray]) -> list[float]:
    """The variance of the mean of each part's numbers, two or more."""
    return [float(np.var(x, ddof=1)) / len(x) for x in parts]


def _freedom(parts: Sequence[np.ndarray]) -> float:
    """Welch's degrees of freedom of the sum of the parts' means; infinite without any spread."""
    variances = _variances(parts)
    denominator = sum(v**2 / (len(x) - 1) for v, x in zip(variances, parts, strict=True))
    return sum(variances) ** 2 / denominator if denominator else math.inf


def _of_seeds(parts: Sequence[np.ndarray]) -> Float[np.ndarray, " draws"]:
    """Deviations of the sum of the parts' means that are due to their seeds, in each draw."""
    parts = [x for x in parts if len(x) > 1]
    deviations = np.zeros(DRAWS)
    for stream, x in enumerate(parts, start=1):
        s = len(x)
        generator = np.random.default_rng([stream, s])
        counts = generator.multinomial(s, np.full(s, 1 / s), size=DRAWS)
        deviations += math.sqrt(s / (s - 1)) * ((counts / s) @ (x - np.mean(x)))
    return deviations * _welch_factors(_freedom(parts), DRAWS)


def _welch_factors(freedom: float, draws: int) -> Float[np.ndarray, " draws"]:
    """Factors that turn normal deviations into those of Student's t."""
    if math.isinf(freedom):
        return np.ones(draws)
    return np.sqrt(freedom / np.random.default_rng(0).chisquare(freedom, draws))


def _of_images(parts: Sequence[np.ndarray]) -> Float[np.ndarray, " draws"]:
    """Deviations of the sum of the parts' means, [s, n] each, that are due to the images."""
    n = parts[0].shape[1]
    score = np.sum([np.mean(x, axis=0) for x in parts], axis=0)
    others = np.sum(np.abs(score - np.median(score)) > ROUNDING)
    score -= np.mean(score)
    deviations = np.concatenate([counts @ score for counts in _chunks(n)]) / n
    if others < _FEW_IMAGES:
        return deviations
    several = [x for x in parts if len(x) > 1]
    of_seeds = _variances([np.mean(x, axis=1) for x in several])
    counted = sum(min(_interaction(x) / x.size, v) for x, v in zip(several, of_seeds, strict=True))
    return deviations * math.sqrt(max(0.0, 1 - counted * n / np.var(score)))


def _interaction(x: np.ndarray) -> float:
    """Mean square of the interaction of the rows and columns of [s, n], 0 of one row."""
    s, n = x.shape
    if s < 2 or n < 2:
        return 0.0
    rest = x - np.mean(x, axis=0) - np.mean(x, axis=1, keepdims=True) + np.mean(x)
    return float(np.sum(rest**2)) / ((s - 1) * (n - 1))


def _chunks(n: int) -> Iterable[np.ndarray]:
    """How often each of n examples is in each draw, uint8 [DRAWS, n] in parts."""
    if n <= _MOST_KEPT:
        return _kept(n)
    return _drawn(n)


def _drawn(n: int) -> Generator[np.ndarray]:
    generator = np.random.default_rng(n)
    rows = max(1, min(_CHUNK, _CHUNK * _MOST_KEPT // n))
    for first in range(0, DRAWS, rows):
        counts = np.empty((min(rows, DRAWS - first), n), np.uint8)
        for row in counts:
            row[:] = np.bincount(generator.integers(0, n, n), minlength=n)
        yield counts


@lru_cache(maxsize=1)
def _kept(n: int) -> tuple[np.ndarray, ...]:
    return tuple(_drawn(n))
