"""A step of KD with cached logits of the teacher, divided by one with the teacher itself."""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp

from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import CIFAR, Problem, step_of
from benchmarks.timer import ratio
from kd import teachers
from kd.teachers.codec import encode

TITLE = "step of KD with cached logits of the teacher over the live teacher"
REPEATS = 15
PRECISIONS = ("float32", "float16", "top16")


def cases(toy: bool) -> Sequence[Case]:
    """The reference pair with batches of 64, and one pair of each kind of network."""
    size = 8 if toy else 64
    pairs = {
        f"{kind} to the same": Problem(net, net, size, SHAPE, CLASSES, 512)
        for kind, net in (TOYS if toy else KINDS).items()
    }
    if not toy:
        pairs["wrn_40_2 to wrn_16_2"] = CIFAR
    return [Case(name, partial(_make, problem)) for name, problem in pairs.items()]


def _make(problem: Problem) -> Prepared:
    """The cache has one epoch of augmentation; w epochs take w times its memory, and equal time."""
    logits = jnp.zeros((1, problem.examples, problem.num_classes))
    cached = teachers.cached(problem.num_classes)
    steps = {"live": step_of("kd", problem)}
    for precision in PRECISIONS:
        stored = encode(logits, precision)
        steps[precision] = step_of("kd", problem, cached, stored)
    facts = {"memory": {name: step.memory for name, step in steps.items()}}
    return Prepared(dict(steps), facts)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Times as median [smallest, largest] of the rounds; memory includes the cache."""
    head = ["pair"]
    for precision in PRECISIONS:
        head += [f"time, {precision}", f"memory, {precision}"]
    lines = []
    for row in rows:
        line = [row["case"]]
        live = sum(row["memory"]["live"].values())
        for precision in PRECISIONS:
            if precision not in row["seconds"]:
                line += ["", ""]
                continue
            time = ratio(row["seconds"][precision], row["seconds"]["live"])
            memory = sum(row["memory"][precision].values())
            line += [str(time), f"{memory / live:.2f}"]
        lines.append(line)
    return [head, *lines]
