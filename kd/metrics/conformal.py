"""Split conformal prediction: sets of classes that hold the label as often as was asked for, and
answers that are wrong no more often than was asked for.

Of n calibration images that a network was never trained on, each has a score. The threshold is the
ceil((n + 1) level)-th smallest score. If a new image and these are exchangeable, its score is at
most the threshold with a probability of at least `level`, whatever the network is; equal scores
only add to it. Papadopoulos, Proedrou, Vovk, Gammerman. Inductive Confidence Machines for
Regression. ECML 2002; Angelopoulos, Bates. A Gentle Introduction to Conformal Prediction. 2021.
https://arxiv.org/abs/2107.07511, section 1.

- **Sets.** The score is the largest logit minus the label's. The set has every class whose logit is
  at most the threshold below the largest, so it is never empty.
- **Answers.** The score is the largest logit minus the second largest where the network is wrong,
  and zero where it is right. A network that answers only if this difference exceeds the threshold
  answers wrongly with a probability of at most 1 - level, over all images: Angelopoulos, Bates,
  Fisch, Lei, Schuster. Conformal Risk Control. ICLR 2024. https://arxiv.org/abs/2208.02814, with a
  loss of 0 or 1.

Both compare differences of logits, so that those of an int8 file are compared as integers.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from kd.errors import InputError

DEFAULT = "90,95,99"
"""Per cent of coverage where nothing else is asked for."""

CONFIDENCE = 0.95
"""Of `assured`, over calibration sets of the same size."""

type Logits = Shaped[np.ndarray, "n c"]
"""Floats, or integers of an int8 file."""


class Threshold(NamedTuple):
    """The thresholds of one level.

    Attributes:
      level: probability of coverage, above 0 and below 1.
      rank: which of the sorted scores they are, counted from 1.
      set: of sets, in the unit of the logits; infinity where there are too few images.
      answer: of answers, likewise.
      assured: the coverage that holds with a probability of `CONFIDENCE` for this calibration set,
        where `level` holds on average over such sets; 1.0 where every set has all classes.
    """

    level: Fraction
    rank: int
    set: float
    answer: float
    assured: float


def parse_levels(text: str, where: str = "--coverage") -> list[Fraction]:
    """Levels in (0, 1) from per cent such as "90,95,99.9", sorted. Raises InputError."""
    try:
        levels = sorted({Fraction(part.strip()) / 100 for part in text.split(",")})
    except (ValueError, ZeroDivisionError):
        levels = []
    if not levels or not all(0 < level < 1 for level in levels):
        raise InputError(
            f"{where} {text}: expected per cent above 0 and below 100, such as {DEFAULT}."
        )
    return levels


def rank(n: int, level: Fraction) -> int:
    """ceil((n + 1) level) of n scores, exactly; n + 1 where no score is large enough."""
    return math.ceil((n + 1) * level)


def quantile(scores: Float[np.ndarray, " n"], level: Fraction) -> float:
    """The `rank`-th smallest score; infinity where there are fewer scores than that."""
    place = rank(len(scores), level)
    return math.inf if place > len(scores) else float(np.sort(scores)[place - 1])


def gaps(logits: Logits) -> Float[np.ndarray, "n c"]:
    """The largest logit minus each logit, in float64, which holds integers exactly; NaN where the
    network gives no numbers.
    """
    z = np.asarray(logits).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return z.max(axis=-1, keepdims=True) - z


def sets(logits: Logits, threshold: float) -> Bool[np.ndarray, "n c"]:
    """Which classes are in each image's set; all of them where the logits are no numbers."""
    return ~(gaps(logits) > threshold)


def margins(logits: Logits) -> Float[np.ndarray, " n"]:
    """The largest logit minus the second largest."""
    ordered = np.sort(gaps(logits), axis=-1)  # NaN last
    return ordered[:, 1] - ordered[:, 0]


def answers(logits: Logits, threshold: float) -> Int[np.ndarray, " n"]:
    """The class of the largest logit, or -1, "I do not know", where the margin is at most the
    threshold.
    """
    return np.where(margins(logits) > threshold, np.asarray(logits).argmax(axis=-1), -1)


def set_scores(logits: Logits, label: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The score of sets: the largest logit minus the label's."""
    score = np.take_along_axis(gaps(logits), np.asarray(label)[:, None].astype(int), -1)[:, 0]
    return np.where(np.isnan(score), np.inf, score)


def answer_scores(logits: Logits, label: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The score of answers: the margin where the network is wrong, zero where it is right, or never
    answers for it gives no numbers.
    """
    margin = np.nan_to_num(margins(logits), nan=0.0, posinf=np.inf)
    return np.where(np.asarray(logits).argmax(axis=-1) == label, 0.0, margin)


def assured(n: int, place: int, networks: int = 1) -> float:
    """The coverage of the `place`-th of n scores that holds with a probability of `CONFIDENCE` for
    the calibration set at hand.

    Vovk. Conditional validity of inductive conformal predictors. ACML 2012.
    https://arxiv.org/abs/1209.2673: over calibration sets the coverage has the distribution
    Beta(place, n + 1 - place), or more where scores are equal.

    Args:
      n: number of scores.
      place: `rank`.
      networks: from how many networks this one was chosen on the same images. The bound holds for
        all of them at once.
    """
    if place > n:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(place, n + 1 - place, (1 - CONFIDENCE) / networks))


def calibrate(
    logits: Logits, label: Int[np.ndarray, " n"], levels: Sequence[Fraction], networks: int = 1
) -> list[Threshold]:
    """The thresholds of each level; see `assured` for `networks`."""
    of_sets, of_answers = set_scores(logits, label), answer_scores(logits, label)
    thresholds = []
    for level in levels:
        place = rank(len(label), level)
        limit, sure = quantile(of_sets, level), assured(len(label), place, networks)
        thresholds.append(Threshold(level, place, limit, quantile(of_answers, level), sure))
    return thresholds


def measure(logits: Logits, label: Int[np.ndarray, " n"], threshold: Threshold) -> dict[str, Any]:
    """What a threshold does on images that it was not computed from. Shares are in [0, 1].

    `coverage`, the share of sets with the label, and `size`, their mean number of classes, both
    also by class of the label (None where it has no image); `sizes`, how many sets have 1, 2, ...
    classes; `answered`, the share of images that get an answer; `wrong`, the share of all images
    that get a wrong one, `wrong_of_answers` that of the answers (None without any), and
    `wrong_without`, the share of wrong predictions if all are answered.
    """
    chosen, classes = sets(logits, threshold.set), np.asarray(logits).shape[-1]
    covered = np.take_along_axis(chosen, np.asarray(label)[:, None].astype(int), -1)[:, 0]
    size = chosen.sum(axis=-1)
    answer = answers(logits, threshold.answer)
    wrong = (answer != label) & (answer >= 0)
    of_class = [np.asarray(label) == k for k in range(classes)]
    by_class = lambda values: [
        float(values[rows].mean()) if rows.any() else None for rows in of_class
    ]
    return {
        "images": len(label),
        "coverage": float(covered.mean()),
        "coverage_by_class": by_class(covered),
        "size": float(size.mean()),
        "size_by_class": by_class(size),
        "sizes": np.bincount(size, minlength=2)[1:].tolist(),
        "answered": float((answer >= 0).mean()),
        "wrong": float(wrong.mean()),
        "wrong_of_answers": float(wrong.sum() / (answer >= 0).sum())
        if (answer >= 0).any()
        else None,
        "wrong_without": float((np.asarray(logits).argmax(axis=-1) != label).mean()),
    }


def describe(
    calibration: tuple[Logits, Int[np.ndarray, " n"]],
    test: tuple[Shaped[np.ndarray, "m c"], Int[np.ndarray, " m"]],
    levels: Sequence[Fraction],
    networks: int = 1,
) -> dict[str, Any]:
    """Thresholds and what they do, as plain data.

    Args:
      calibration: logits and labels of images that the network was never trained on.
      test: of others, which choose nothing.
      levels: from `parse_levels`.
      networks: see `assured`.

    Returns:
      `images`, the number of calibration images; `levels`, for each `level` its `rank`, `set`,
      `answer` (None: infinity), `assured`, and `test`, from `measure`.
    """
    finite = lambda x: x if math.isfinite(x) else None
    rows = [
        {
            "level": float(t.level),
            "rank": t.rank,
            "set": finite(t.set),
            "answer": finite(t.answer),
            "assured": t.assured,
            "test": measure(*test, t),
        }
        for t in calibrate(*calibration, levels, networks)
    ]
    return {"images": len(calibration[1]), "levels": rows}


def fewest(level: Fraction) -> int:
    """The least number of calibration images for which a level has a finite threshold."""
    return math.ceil(level / (1 - level))
