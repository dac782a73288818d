"""Contrasts: the difference of two cells with its interval, and a verdict in a word. NumPy only."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kd.metrics import contrasts
from kd.metrics.contrasts import Difference
from kd.tables.metric_call import parse
from kd.tables.table import Contrast

EXAMPLES, PLAIN, SEEDS = "examples", "examples, plain", "seeds"
"""What was resampled: test examples and seeds, or seeds alone. PLAIN: as EXAMPLES, by an earlier
version, without a correction for few seeds.
"""

TESTS = {
    EXAMPLES: (
        "a bootstrap over test images (the same for all) and seeds, with Student's t for seeds"
    ),
    PLAIN: (
        "a bootstrap over test images (the same for all) and seeds (by an earlier version of kd, "
        "without Student's t for seeds: about a tenth too narrow)"
    ),
    SEEDS: "Welch's t-test over seeds",
}
"""What legends say of each."""

SIGNIFICANT = 0.05
"""The corrected p-value below which there is a difference."""

SAME = "not significant"


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
      difference: with interval and p-value; None where one seed, no spread or a number that is not
        finite leaves it open.
      over: EXAMPLES, PLAIN or SEEDS.
      corrected: p after Holm's correction over the column.
      tests: p-values of "the difference is b" for each bound b of the contrast.
      single: True if a cell is of one network, whose seeds do not vary.
    """

    difference: Difference | None
    over: str
    corrected: float | None = None
    tests: Mapping[float, float] = dataclasses.field(default_factory=dict)
    single: bool = False

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
    contrast: Contrast, values: Sequence[Sequence[float]], scores: Sequence[Scores | None]
) -> Comparison:
    """Compares cells by their scores on the same examples, or else by their seeds.

    Args:
      contrast: with its weights and bounds.
      values: the number of each seed, of each cell.
      scores: scores on each example, of each cell; None where they are not known.
    """
    weights, bounds = contrast.weights, contrast.bounds
    runs = [cell.reference for cell in contrast.of]
    known = [s for s in scores if s is not None]
    if len(known) == len(scores) and all(np.array_equal(s.label, known[0].label) for s in known):
        over = EXAMPLES
        tested = contrasts.combined_over_examples([s.values for s in known], weights, bounds, runs)
    else:
        over, tested = SEEDS, contrasts.combined_over_seeds(values, weights, bounds, runs)
    if tested is None or not math.isfinite(tested[0].value):
        return Comparison(None, over)
    difference, tests = tested
    return Comparison(difference, over, tests=dict(zip(bounds, tests, strict=True)))


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


def how_tested(comparisons: Iterable[Comparison | None]) -> tuple[str, str]:
    """What gave the intervals of comparisons, and a remark; "" without comparisons or remark."""
    known = [c for c in comparisons if c and c.difference]
    by = ", or by ".join(text for way, text in TESTS.items() if way in {c.over for c in known})
    remark = (
        "A cell of one network has no spread over seeds: its differences are over images, and over "
        "the seeds of the other cell."
    )
    return by, remark if any(c.single for c in known) else ""


def better(contrast: Contrast) -> str:
    """Which direction of the contrast's metric is better; "" if neither."""
    return parse(contrast.of[0].metric).metric.better


def to_json(comparison: Comparison) -> dict[str, Any] | None:
    """What is published of a comparison; None if a table can compute it from the seeds."""
    if comparison.over == SEEDS or comparison.difference is None:
        return None
    content: dict[str, Any] = comparison.difference._asdict()
    if comparison.tests:
        content["tests"] = {repr(bound): p for bound, p in comparison.tests.items()}
    return content | ({"few_seeds": "student"} if comparison.over == EXAMPLES else {})


def from_json(
    content: Mapping[str, Any] | None, value: float, bounds: Sequence[float] = ()
) -> Comparison | None:
    """The published comparison, None if there is none, or one of other numbers or bounds.

    Args:
      content: from `to_json`.
      value: the difference of the means that are shown beside it.
      bounds: of the contrast.
    """
    if content is None or not math.isclose(content["value"], value, rel_tol=1e-6, abs_tol=1e-9):
        return None
    tests = {float(bound): p for bound, p in content.get("tests", {}).items()}
    if not set(bounds) <= tests.keys():
        return None
    difference = Difference(*(content[name] for name in Difference._fields))
    over = EXAMPLES if content.get("few_seeds") == "student" else PLAIN
    return Comparison(difference, over, tests={bound: tests[bound] for bound in bounds})
