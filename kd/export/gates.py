"""Gates: limits that an export must keep, with defaults; a user can set and waive them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from kd.errors import InputError, RunError, unknown
from kd.metrics.limits import ROUNDING, at_least, at_most
from kd.ranges import Range


class Limit(NamedTuple):
    """A limit on a figure.

    Attributes:
      value: of the limit.
      at_least: whether it limits the figure from below.
      what: the figure in words.
      slack: by how much rounding may miss the limit; 0.0 where every bit must be equal.
      range: the limits that a user may set.
    """

    value: float
    at_least: bool
    what: str
    slack: float = ROUNDING
    range: Range = Range(0)


COMMON = {
    "float_error": Limit(
        1e-5, False, "largest difference of a logit, in units of the largest logit"
    ),
    "accuracy_drop": Limit(0.003, False, "accuracy lost", range=Range(0, 1)),
    "agreement": Limit(0.985, True, "fraction of images with the float student's class"),
    "recorded": Limit(
        0.995,
        True,
        "fraction of images with the class that the run stored for this network",
    ),
}
"""Defaults of the gates that any format may have, by the name of their figure. Those of one format
are in its file; `kd.export.formats.limits` has all.
"""


class Verdict(NamedTuple):
    """A figure after it was compared with its limit."""

    name: str
    value: float
    limit: float
    at_least: bool
    passed: bool
    waived: bool

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        state = "passed" if self.passed else "WAIVED" if self.waived else "FAILED"
        return f"{self.name} {self.value:z.6g}, asked for {sign} {self.limit:zg}: {state}"


def settings(
    limits: Mapping[str, Limit], changes: Sequence[str], waived: Sequence[str]
) -> dict[str, Limit]:
    """The limits with the changes of a user, each `name=value`.

    Raises:
      InputError: a change or a waiver names no gate, or a value is no number that its figure can
        have, such as an accuracy drop of 1.5: every export would pass.
    """
    limits = dict(limits)
    for text in changes:
        name, _, value = text.partition("=")
        if name not in limits:
            raise unknown("gate", name, limits)
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"--gate {text}: expected name=number, as agreement=0.98.")
        if not limits[name].range.contains(number):
            words = limits[name].range.words(value=number)
            raise InputError(f"--gate {text}: expected {words}, got {number:zg}.")
        limits[name] = limits[name]._replace(value=number)
    for name in waived:
        if name not in limits:
            raise unknown("gate", name, limits)
    return limits


def check(changes: Sequence[str], figures: Iterable[str], what: str) -> None:
    """Raises InputError where a user set a limit, as `name=value`, on a figure that this export,
    `what`, does not have.
    """
    for text in changes:
        name = text.partition("=")[0]
        if name not in figures:
            raise InputError(f"--gate {text}: {what} has no such gate, but {', '.join(figures)}.")


def judge(
    figures: Mapping[str, float], limits: Mapping[str, Limit], waived: Iterable[str]
) -> list[Verdict]:
    """Compares each figure with its limit; NaN fails."""
    verdicts = []
    for name, value in figures.items():
        limit = limits[name]
        keeps = at_least if limit.at_least else at_most
        passed = keeps(value, limit.value, limit.slack)
        verdicts.append(Verdict(name, value, limit.value, limit.at_least, passed, name in waived))
    return verdicts


def enforce(verdicts: Sequence[Verdict], notes: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raises RunError, with all figures, where one failed and is not waived; `notes` say where a
    figure was measured, by its name.
    """
    failed = [v.name for v in verdicts if not (v.passed or v.waived)]
    if failed:
        where = lambda v: f" ({notes[v.name]})" if v.name in notes and not v.passed else ""
        lines = [f"  {verdict}{where(verdict)}" for verdict in verdicts]
        raise RunError(
            "\n".join(
                [
                    "the export is not the same network; nothing was written. --gate NAME=VALUE "
                    f"sets a limit, --waive {failed[0]} goes on and says so in the model card.",
                    *lines,
                ]
            )
        )
