"""The step of each method, divided by that of plain KD: time and memory.

wrn_40_2 to wrn_16_2, batches of 64.
"""

from collections.abc import Sequence

from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import CIFAR, TOY, Stepper, step_of
from benchmarks.timer import Ratio, ratio
from configs.common import METHODS, SEVERAL

TITLE = "step of each method over plain KD, wrn_40_2 to wrn_16_2, batch 64"
REPEATS = 5

PLAIN = "kd"
SECOND = ("fsp", "ab", "fitnet_first", "fitnet_second")
"""Runs whose step is that of another method, `labels` or `kd`: second runs of two."""


def cases(toy: bool) -> Sequence[Case]:
    """Every method, and training from labels. KD against itself shows the noise."""
    problem = TOY if toy else CIFAR
    names = ["at", "simkd"] if toy else [m for m in METHODS if m not in (*SECOND, *SEVERAL)]
    plain_steps: list[Stepper] = []  # plain KD, compiled when it is first needed

    def make(name: str) -> Prepared:
        if not plain_steps:
            plain_steps.append(step_of(PLAIN, problem))
        plain, step = plain_steps[0], step_of(name, problem)
        facts = {"plain": plain.memory, "method": step.memory}
        return Prepared({"plain": plain, "method": step}, facts)

    return [Case(name, lambda name=name: make(name)) for name in names]


def time(row: Row) -> Ratio:
    """Step time divided by that of plain KD."""
    return ratio(row["seconds"]["method"], row["seconds"]["plain"])


def memory(row: Row) -> float:
    """Bytes of a step, temporaries and arguments, divided by those of plain KD."""
    method, plain = (sum(row[part].values()) for part in ("method", "plain"))
    return method / plain


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Times as median [smallest, largest] of the rounds."""
    head = ["method", "step time over KD", "memory over KD", "MB more"]
    lines = []
    for row in rows:
        more = sum(row["method"].values()) - sum(row["plain"].values())
        lines.append([row["case"], str(time(row)), f"{memory(row):.2f}", f"{more / 1e6:.0f}"])
    return [head, *lines]
