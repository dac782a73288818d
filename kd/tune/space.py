"""What is tried: the values of `--over KEY=RANGE`."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from kd.errors import InputError

EXAMPLES = "optimizer.learning_rate=1e-3..1e-1:log or objective.kd.temperature=1,2,4,8"
NEVER = ("holdout", "seed", "seeds", "compare", "data.name", "data.path")
"""Keys that are no settings to be chosen: they decide what the choice is made on."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """The values of one key: a list of choices, or all numbers from `low` to `high`."""

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole_numbers: bool = False

    @property
    def ends(self) -> tuple[str, ...]:
        """Values that must all be settings that the config takes."""
        return self.choices or (self._text(self.low), self._text(self.high))

    def propose(self, trial: Any) -> str:
        """A value for a trial of Optuna's, as it is written on the command line."""
        if self.choices:
            return str(trial.suggest_categorical(self.key, self.choices))
        if self.whole_numbers:
            value = trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        else:
            value = trial.suggest_float(self.key, self.low, self.high, log=self.log)
        return self._text(value)

    def text(self, value: Any) -> str:
        """A value that Optuna has stored, as it is written on the command line."""
        return str(value) if self.choices else self._text(value)

    def _text(self, value: float) -> str:
        return str(int(value)) if self.whole_numbers else repr(float(value))


def parse(texts: Sequence[str]) -> list[Axis]:
    """The axes of all `--over`. Raises InputError for one that is empty or malformed."""
    axes = [_axis(text) for text in texts]
    keys = [axis.key for axis in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(f"--over {key}: occurs twice.")
    return axes


def _axis(text: str) -> Axis:
    key, equals, values = (part.strip() for part in text.partition("="))
    key = key.removeprefix("--").removeprefix("config.")
    if not key or not equals:
        raise InputError(f"--over {text}: expected KEY=RANGE, such as {EXAMPLES}.")
    if key in NEVER:
        raise InputError(f"--over {key}: it decides on what one chooses, and is not to be chosen.")
    if ".." not in values:
        choices = tuple(value.strip() for value in values.split(","))
        if len(set(choices)) < 2 or not all(choices) or len(set(choices)) < len(choices):
            raise InputError(f"--over {text}: expected two or more values, each once.")
        return Axis(key, choices)
    span, colon, scale = values.partition(":")
    low, _, high = span.partition("..")
    if colon and scale != "log":
        raise InputError(f"--over {text}: unknown scale {scale!r}, expected LOW..HIGH:log.")
    try:
        numbers = float(low), float(high)
    except ValueError:
        raise InputError(f"--over {text}: expected LOW..HIGH, both numbers.") from None
    if not (all(map(math.isfinite, numbers)) and numbers[0] < numbers[1]):
        raise InputError(f"--over {text}: the range is empty; expected LOW..HIGH, LOW below HIGH.")
    if colon and numbers[0] <= 0:
        raise InputError(f"--over {text}: a logarithmic range begins above 0.")
    both_whole = all(part.strip().lstrip("+-").isdecimal() for part in (low, high))
    return Axis(key, (), *numbers, bool(colon), both_whole)
