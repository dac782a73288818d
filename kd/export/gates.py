"""What an export has to pass before it is called done: limits with defaults, set and waived by the
user.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kd.errors import InputError, RunError, unknown
from kd.metrics.intervals import ROUNDING, at_least, at_most


class Limit(NamedTuple):
    """A limit on a figure, from above or from below, and what the figure is."""

    value: float
    at_least: bool
    what: str
    slack: float = ROUNDING  # 0.0 where the bits are to be the same


LIMITS = {
    "archive_error": Limit(0.0, False, "largest difference of a logit", 0.0),
    "float_error": Limit(
        1e-5, False, "largest difference of a logit, in units of the largest logit"
    ),
    "accuracy_drop": Limit(0.003, False, "accuracy lost"),
    "agreement": Limit(0.985, True, "share of images with the float student's class"),
    "recorded": Limit(
        0.995, True, "share of images with the class that the run stored of this network"
    ),
    "tflm_error": Limit(1e-5, False, "TFLM against LiteRT's reference kernels, as float_error"),
    "tflm_lsb": Limit(1.0, False, "TFLM against LiteRT's reference kernels, in output units"),
    "c_lsb": Limit(1.0, False, "the C program against the golden vectors, likewise"),
}
"""Defaults. The names of the gates are those of the figures."""


class Verdict(NamedTuple):
    """A gate after it was asked."""

    name: str
    value: float
    limit: float
    at_least: bool
    passed: bool
    waived: bool

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        state = "passed" if self.passed else "WAIVED" if self.waived else "FAILED"
        return f"{self.name} {self.value:.6g}, asked for {sign} {self.limit:g}: {state}"


def settings(given: Sequence[str], waived: Sequence[str]) -> dict[str, Limit]:
    """The limits, with those that the user gave as `name=value`. Raises InputError for what is
    none, of either list.
    """
    limits = dict(LIMITS)
    for text in given:
        name, _, value = text.partition("=")
        if name not in limits:
            raise unknown("gate", name, limits)
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"--gate {text}: expected name=number, as agreement=0.98.")
        limits[name] = limits[name]._replace(value=number)
    for name in waived:
        if name not in limits:
            raise unknown("gate", name, limits)
    return limits


def check(given: Sequence[str], figures: Iterable[str], what: str) -> None:
    """Raises InputError where a limit was set, as `name=value`, on a figure that this export,
    `what`, does not have.
    """
    for text in given:
        name = text.partition("=")[0]
        if name not in figures:
            raise InputError(f"--gate {text}: {what} has no such gate, but {', '.join(figures)}.")


def judge(
    figures: Mapping[str, float], limits: Mapping[str, Limit], waived: Iterable[str]
) -> list[Verdict]:
    """Each figure against its limit; one that is no number fails."""
    verdicts = []
    for name, value in figures.items():
        limit = limits[name]
        keeps = at_least if limit.at_least else at_most
        passed = keeps(value, limit.value, limit.slack)
        verdicts.append(Verdict(name, value, limit.value, limit.at_least, passed, name in waived))
    return verdicts


def enforce(verdicts: Sequence[Verdict]) -> None:
    """Raises RunError, with all the figures, where one failed and is not waived."""
    failed = [v.name for v in verdicts if not (v.passed or v.waived)]
    if failed:
        lines = [f"  {verdict}" for verdict in verdicts]
        raise RunError(
            "\n".join(
                [
                    "the export is not the same network; nothing was written. --gate NAME=VALUE "
                    f"sets a limit, --waive {failed[0]} goes on and says so in the model card.",
                    *lines,
                ]
            )
        )
