"""Time and memory of a step as batch, teachers, classes or training set grow.

Divided by those of the smallest.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax

from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import Problem, Stepper, step_of
from benchmarks.timer import ratio
from kd import build, teachers

TITLE = "step of a small CNN taught by one of its kind, as one thing grows"
REPEATS = 15

SIZES = {
    "batch": (32, 64, 128, 256),
    "teachers": (1, 2, 4, 8),
    "classes": (10, 100, 1000),
    "examples, CRD": (1000, 10000, 50000),
}
"""What grows. The training set matters for CRD, whose banks have a row for each example."""


def cases(toy: bool) -> Sequence[Case]:
    """Each size, compared with the first of its kind."""
    net = TOYS["CNN"] if toy else KINDS["CNN"]
    kinds = ("batch", "teachers") if toy else tuple(SIZES)
    return [
        Case(
            f"{kind}: {SIZES[kind][0]} to {size}",
            partial(_make, partial(_step, net, kind), SIZES[kind][0], size),
        )
        for kind in kinds
        for size in SIZES[kind][1 : 2 if toy else None]
    ]


def _step(net: Mapping[str, Any], kind: str, size: int) -> Stepper:
    problem = Problem(net, net, 32, SHAPE, CLASSES, 1000)
    if kind == "batch":
        return step_of("kd", problem._replace(batch_size=size))
    if kind == "classes":
        return step_of("kd", problem._replace(num_classes=size))
    if kind == "teachers":
        big = build.make_model(net, CLASSES)
        init = lambda key: big.init(key, jax.numpy.zeros((1, *SHAPE)))
        weights = jax.jit(jax.vmap(init))(jax.random.split(jax.random.key(0), size))
        return step_of("kd", problem, teachers.ensemble(big, how="unroll"), weights)
    return step_of("crd", problem._replace(examples=size))


def _make(step: Callable[[int], Stepper], first: int, size: int) -> Prepared:
    small, large = step(first), step(size)
    facts = {"times": size / first, "first": small.memory, "grown": large.memory}
    return Prepared({"first": small, "grown": large}, facts)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Times as median [smallest, largest] of the rounds."""
    head = ["what grows", "times", "step time", "memory"]
    lines = []
    for row in rows:
        time = ratio(row["seconds"]["grown"], row["seconds"]["first"])
        grown, first = (sum(row[k].values()) for k in ("grown", "first"))
        lines.append([row["case"], f"{row['times']:g}", str(time), f"{grown / first:.2f}"])
    return [head, *lines]
