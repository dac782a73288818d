"""A step of KD with a teacher that was asked before, its answers stored in several ways, over one
with the live teacher.
"""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp

from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Made, Row
from benchmarks.steps import CIFAR, Problem, step_of
from benchmarks.timer import ratio
from kd import teachers
from kd.teachers.codec import encode

TITLE = "step of KD with cached logits of the teacher over the live teacher"
REPEATS = 15
PRECISIONS = ("float32", "float16", "top16")


def cases(toy: bool) -> Sequence[Case]:
    """The reference pair at batch 64, and pairs of one kind each."""
    size = 8 if toy else 64
    pairs = {
        f"{kind} to the same": Problem(net, net, size, SHAPE, CLASSES, 512)
        for kind, net in (TOYS if toy else KINDS).items()
    }
    if not toy:
        pairs["wrn_40_2 to wrn_16_2"] = CIFAR
    return [Case(name, partial(_make, problem)) for name, problem in pairs.items()]


def _make(problem: Problem) -> Made:
    """The stored answers are of one epoch of augmentation: a window of w takes w times their
    memory, and the same time.
    """
    logits = jnp.zeros((1, problem.examples, problem.num_classes))
    cached = teachers.cached(problem.num_classes)
    steps = {"live": step_of("kd", problem)}
    for precision in PRECISIONS:
        stored = encode(logits, precision)
        steps[precision] = step_of("kd", problem, cached, stored)
    facts = {"memory": {name: step.memory for name, step in steps.items()}}
    return Made(dict(steps), facts)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Times as median [smallest, largest] of the rounds; memory of the program and its arguments,
    answers included.
    """
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
