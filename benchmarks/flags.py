"""A step of KD in a process with one of XLA's flags over one without, in seconds of the processors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.record import Case, Made, Row
from benchmarks.steps import CIFAR, TOY, Problem, step_of
from benchmarks.timer import ratio
from benchmarks.worker import Worker

TITLE = "a step of KD under one of XLA's flags over one under none: processor time"
REPEATS = 9

FLAGS = {
    "none": "",
    "none again": "",
    "xnnpack": "--xla_cpu_use_xnnpack=true",
    "ynn for convolutions": "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION",
    "ynn for products": "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    "fast math": "--xla_cpu_enable_fast_math=true",
}
"""Row -> flags of its process."""


def cases(toy: bool) -> Sequence[Case]:
    """The reference pair."""
    name, problem = ("toy", TOY) if toy else ("wrn_40_2 to wrn_16_2", CIFAR)
    return [Case(name, partial(_make, problem, 2 if toy else len(FLAGS)))]


def step(problem: Problem) -> Callable[[], Any]:
    """The step of plain KD."""
    return step_of("kd", problem)


def _make(problem: Problem, count: int) -> Made:
    chosen = list(FLAGS.items())[:count]
    part = lambda flags: Worker(step, problem, flags=flags, clock="process_time")
    return Made({name: part(flags) for name, flags in chosen}, {})


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Ratios as median [smallest, largest] of the rounds."""
    lines = [["pair", "flag", "over none"]]
    for row in rows:
        seconds = row["seconds"]
        lines += [
            [row["case"], name, str(ratio(times, seconds["none"]))]
            for name, times in seconds.items()
            if name != "none"
        ]
    return lines
