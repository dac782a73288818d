"""Contrasts: the difference of two cells with its interval, and a verdict in a word. NumPy only."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd.metrics import contrasts
from kd.metrics.contrasts import Difference
from kd.tables.metric_call import parse
from kd.tables.table import Contrast

EXAMPLES, SEEDS = "examples", "seeds"
"""What was resampled: test examples and seeds, or seeds alone."""

SIGNIFICANT = 0.05
"""The corrected p-value below which there is a difference."""

SAME = "no difference"


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of a cell's networks on each example.

    Attributes:
      values: [s, n], whose mean over n is the cell's number of each seed.
      label: classes of these examples, [n].
    """

    values: np.ndarray
    label: np.ndarray


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What is known of a difference.

    Attributes:
      difference: with interval and p-value; None where one seed or no spread leaves it open.
      over: EXAMPLES or SEEDS.
      corrected: p after Holm's correction over the column.
    """

    difference: Difference | None
    over: str
    corrected: float | None = None

    def verdict(self, better: str) -> str:
        """Better, worse, higher, lower or SAME; "" where it is open.

        Args:
          better: of `kd.tables.metric.Metric`.
        """
        if self.difference is None or self.corrected is None:
            return ""
        if not self.corrected < SIGNIFICANT:
            return SAME
        higher = self.difference.value > 0
        if not better:
            return "higher" if higher else "lower"
        return "better" if higher == (better == "higher") else "worse"


def comparison_of(
    a: Sequence[float], b: Sequence[float], one: Scores | None, other: Scores | None
) -> Comparison:
    """Compares two cells by their scores on the same examples, or else by their seeds.

    Args:
      a: the number of each seed of one.
      b: those of the other, the baseline.
      one: scores of the first on each example, None where they are not known.
      other: those of the baseline.
    """
    if one is not None and other is not None and np.array_equal(one.label, other.label):
        return Comparison(contrasts.over_examples(one.values, other.values), EXAMPLES)
    return Comparison(contrasts.over_seeds(a, b), SEEDS)


def corrected(comparisons: Mapping[Contrast, Comparison]) -> dict[Contrast, Comparison]:
    """The comparisons of a table with p-values that are corrected over each column."""
    result = dict(comparisons)
    for column in {contrast.column for contrast in comparisons}:
        known = {
            contrast: comparison.difference.p
            for contrast, comparison in comparisons.items()
            if contrast.column == column and comparison.difference is not None
        }
        for contrast, p in zip(known, contrasts.holm([*known.values()]), strict=True):
            result[contrast] = dataclasses.replace(comparisons[contrast], corrected=p)
    return result


def better(contrast: Contrast) -> str:
    """Which direction of the contrast's metric is better; "" if neither."""
    return parse(contrast.of[0].metric).metric.better


def to_json(comparison: Comparison) -> dict[str, Any] | None:
    """What is published of a comparison; None if a table can compute it from the seeds."""
    if comparison.over != EXAMPLES or comparison.difference is None:
        return None
    return comparison.difference._asdict()


def from_json(content: Mapping[str, Any] | None, value: float) -> Comparison | None:
    """The published comparison, None if there is none, or one of other numbers.

    Args:
      content: from `to_json`.
      value: the difference of the means that are shown beside it.
    """
    if content is None or not math.isclose(content["value"], value, rel_tol=1e-6, abs_tol=1e-9):
        return None
    return Comparison(Difference(**content), EXAMPLES)
