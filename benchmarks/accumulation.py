"""A step in parts (`config.accumulate`) over the same step at once: memory and time."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks import libraries
from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import Problem, Stepper, step_of
from benchmarks.timer import ratio

TITLE = "step of KD in parts over the step at once, batch 256"
REPEATS = 7

PARTS = (2, 4, 16)


def cases(toy: bool) -> Sequence[Case]:
    """A CNN by each library of convolutions, and an MLP, in each number of parts."""
    networks = TOYS if toy else KINDS
    kinds = [("CNN", library) for library in libraries.available()] + [("MLP", libraries.XLA)]
    return [
        Case(
            f"{name}, {libraries.NAMES[library]} convolutions: {parts} parts"
            if name == "CNN"
            else f"{name}: {parts} parts",
            partial(_make, networks[name], library, 16 if toy else 256, parts),
        )
        for name, library in (kinds[-1:] if toy else kinds)
        for parts in PARTS[: 1 if toy else None]
    ]


def _make(network: Mapping[str, Any], library: str, size: int, parts: int) -> Prepared:
    problem = Problem(network, network, size, SHAPE, CLASSES, 1000)

    def step(accumulate: int) -> Stepper:
        # XLA's convolutions are slow in loops: as in a run, their parts are written out.
        unroll = network["name"] == "cnn.CNN" and library == libraries.XLA
        settings = dict(accumulate=accumulate, unroll=unroll)
        return step_of("kd", problem, **settings)

    with libraries.using(library):
        at_once, in_parts = step(1), step(parts)
    facts = {"parts": parts, "at_once": at_once.memory, "in_parts": in_parts.memory}
    return Prepared({"at once": at_once, "in parts": in_parts}, facts)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Temporaries in MB; processor time as median [smallest, largest] of the rounds."""
    head = [
        "step",
        "temporaries at once, MB",
        "in parts, MB",
        "ratio",
        "processor time over at once",
    ]
    lines = []
    for row in rows:
        time = ratio(row["processor_seconds"]["in parts"], row["processor_seconds"]["at once"])
        once, parts = (row[part]["temporary_bytes"] / 1e6 for part in ("at_once", "in_parts"))
        lines.append([row["case"], f"{once:.1f}", f"{parts:.1f}", f"{parts / once:.2f}", str(time)])
    return [head, *lines]
