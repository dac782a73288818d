"""Whether a claim held, from the contrasts of its hypotheses.

Each hypothesis is a contrast that is said to be greater, or less, than a number; where the claim
says how much, it has a size. Its outcome, with p-values after Holm's correction over the
hypotheses of the claim:

- the opposite: the contrast differs from the number (p < 0.05), on the other side;
- smaller than claimed: it differs from the claimed size (p < 0.05), on the side of less effect;
- as claimed: it differs from the number (p < 0.05), on the side that the claim says;
- open: none of these.

The claim held if all outcomes are "as claimed". It did not hold if one is "the opposite" or
"smaller than claimed". It is undecided otherwise.
"""

import dataclasses
from collections.abc import Sequence

from kd.metrics.contrasts import holm
from kd.tables.contrast import SIGNIFICANT
from kd.tables.measure import Entry
from kd.tables.table import Claim, Hypothesis

AS_CLAIMED, OPPOSITE, SMALLER = "as claimed", "the opposite", "smaller than claimed"
OPEN, MISSING = "open", "missing"
"""Outcomes of a hypothesis."""

HELD, NOT_HELD, UNDECIDED = "held", "not held", "undecided"
"""Verdicts on a claim; INCOMPLETE where a contrast is missing."""

INCOMPLETE = "not tested completely"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a hypothesis.

    Attributes:
      hypothesis: which one.
      entry: its contrast with its numbers.
      word: one of the outcomes above.
      p: of "the contrast is `than`", corrected; None where it is not known.
    """

    hypothesis: Hypothesis
    entry: Entry
    word: str
    p: float | None = None


def outcomes(claim: Claim, entries: Sequence[Entry]) -> list[Outcome]:
    """The outcome of each hypothesis.

    Args:
      claim: which one.
      entries: of `kd.tables.measure.of_claim`.
    """
    pairs = [*zip(claim.hypotheses, entries, strict=True)]
    by_number = _corrected([_p(entry, h.than) for h, entry in pairs])
    by_size = _corrected([_p(entry, h.reach) for h, entry in pairs])
    return [
        Outcome(h, entry, _word(h, entry, p, of_size), p)
        for (h, entry), p, of_size in zip(pairs, by_number, by_size, strict=True)
    ]


def verdict(results: Sequence[Outcome]) -> str:
    """The verdict on the claim of these outcomes."""
    words = {result.word for result in results}
    if MISSING in words:
        return INCOMPLETE
    if words & {OPPOSITE, SMALLER}:
        return NOT_HELD
    return HELD if words == {AS_CLAIMED} else UNDECIDED


def _word(h: Hypothesis, entry: Entry, p: float | None, of_size: float | None) -> str:
    if not entry.values:
        return MISSING
    differs = p is not None and p < SIGNIFICANT
    beyond = h.sign * (entry.mean - h.than) > 0
    if differs and not beyond:
        return OPPOSITE
    too_small = h.reach is not None and h.sign * (entry.mean - h.reach) < 0
    if too_small and of_size is not None and of_size < SIGNIFICANT:
        return SMALLER
    return AS_CLAIMED if differs else OPEN


def _p(entry: Entry, bound: float | None) -> float | None:
    """The p-value of "the contrast is `bound`"; None where it is not known."""
    return entry.comparison.tests.get(bound) if entry.comparison and bound is not None else None


def _corrected(values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction over the p-values that are known."""
    corrected = iter(holm([p for p in values if p is not None]))
    return [None if p is None else next(corrected) for p in values]
