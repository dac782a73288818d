"""What distillation gained and at what cost, in one sentence. The closing table and the report
print it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kd.metrics.intervals import Interval, sign

type Costs = Mapping[str, Any]
"""Costs of a network: `bytes`, `macs`."""


UNSEEN = "less than 0.1 points"
"""A difference that is 0.0 points when it is rounded."""


class Compared(NamedTuple):
    """A run without a teacher, which the student is compared with.

    Attributes:
      name: of the run.
      gain: accuracy of the student minus that of the run, with its interval.
      costs: of one of its networks, or of each peer.
      seeds: how many it has.
    """

    name: str
    gain: Interval
    costs: Sequence[Costs]
    seeds: int


class Taught(NamedTuple):
    """What the student learned from.

    Attributes:
      loss: accuracy of the teacher minus that of the student, with its interval.
      costs: of each member; empty where they are not known.
      paired: whether each student had a member of its own.
    """

    loss: Interval
    costs: Sequence[Costs]
    paired: bool

    @property
    def is_ensemble(self) -> bool:
        """Whether a student learned from several members."""
        return len(self.costs) > 1 and not self.paired


def sentence(
    student: Sequence[Costs], seeds: int, compared: Sequence[Compared], taught: Taught
) -> str:
    """The sentence; two without a run to compare with. A gain or a loss is stated where its 95 %
    interval excludes zero.

    Args:
      student: costs of a student, or of each peer of a cohort.
      seeds: how many students, or cohorts, there are.
      compared: runs without a teacher.
      taught: the student's teacher.

    Returns:
      Such as "Distillation gains 2.9 points over 'labels' at the same size, and the student is 58
      times smaller than a teacher, for 0.9 points less than the ensemble."
    """
    one = (
        " (one seed: others may differ)" if min(seeds, *(c.seeds for c in compared), 2) == 1 else ""
    )
    gained = [f"{_gain(c.gain, c.name)}{_beside(student, c.costs)}" for c in compared]
    if gained:
        first = f"Distillation {' and '.join(gained)}, and the"
    else:
        first = "What distillation gains over labels was not measured. The"
    if not taught.costs:
        text = f"student, whose teacher's size is not known, comes {_loss(taught)}"
    else:
        text = f"student {_size(student, taught)}, {_loss(taught)}"
    return f"{first} {text}{one}."


def _gain(gain: Interval, name: str) -> str:
    if sign(gain) > 0:
        return f"gains {_points(gain.value)} over '{name}'"
    if sign(gain) < 0:
        return f"loses {_points(gain.value)} against '{name}'"
    return f"shows neither gain nor loss against '{name}'"


def _loss(taught: Taught) -> str:
    whom = "the ensemble" if taught.is_ensemble else "its teacher"
    if sign(taught.loss) > 0:
        return f"for {_points(taught.loss.value)} less than {whom}"
    if sign(taught.loss) < 0:
        return f"with {_points(taught.loss.value)} more than {whom}"
    points = _points(taught.loss.value)
    if points == UNSEEN:
        return f"with no loss against {whom} shown"
    word = "less" if taught.loss.value > 0 else "more"
    return f"for {points} {word} than {whom}, inside the interval"


def _points(difference: float) -> str:
    points = f"{100 * abs(difference):z.1f}"
    return UNSEEN if points == "0.0" else f"{points} points"


def _beside(student: Sequence[Costs], other: Sequence[Costs]) -> str:
    """How large another student is beside this one."""
    size, work = _span(other, student, "bytes"), _span(other, student, "macs")
    if size == work == (1.0, 1.0):
        return " at the same size"
    text = _words(size, "larger", "smaller", "as large")
    return f" ({text}, with {_words(work, 'more', 'fewer', 'as many')} MACs)"


def _size(student: Sequence[Costs], taught: Taught) -> str:
    """The bytes and multiply-accumulates of a student beside those of a teacher."""
    whom = "a teacher" if taught.is_ensemble else "its teacher"
    size = _words(_span(taught.costs, student, "bytes"), "smaller", "larger", "as large")
    work = _words(_span(taught.costs, student, "macs"), "fewer", "more", "as many")
    joined = "as" if size.endswith("as large") else "than"
    return f"is {size} {joined} {whom} and takes {work} MACs"


def _span(a: Sequence[Costs], b: Sequence[Costs], key: str) -> tuple[float, float]:
    """The smallest and the largest ratio of a cost of the networks of `a` to one of `b`."""
    ratios = [max(x[key], 1) / max(y[key], 1) for x in a for y in b]
    return min(ratios), max(ratios)


def _words(span: tuple[float, float], more: str, less: str, equal: str) -> str:
    """A ratio, or the span of several, in words such as "2.0 times smaller"."""
    low, high = (_ratio(ratio, more, less, equal) for ratio in span)
    if low == high:
        return low
    return f"between {low} and {high}"


def _ratio(ratio: float, more: str, less: str, equal: str) -> str:
    if ratio == 1:
        return equal
    if 1 / 1.05 < ratio < 1.05:
        return f"about {equal}"
    times = max(ratio, 1 / ratio)
    text = f"{times:z,.0f}" if times >= 10 else f"{times:z.1f}"
    return f"{text} times {more if ratio > 1 else less}"
