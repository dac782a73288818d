"""A step of KD with a teacher that was asked once over one with the live teacher."""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp

from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Made, Row
from benchmarks.steps import CIFAR, Problem, step_of
from benchmarks.timer import ratio
from kd import teacher

TITLE = "step of KD with cached logits of the teacher over the live teacher"
REPEATS = 15


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
    logits = jnp.zeros((problem.examples, problem.num_classes))
    live, cached = step_of("kd", problem), step_of("kd", problem, teacher.cached(), logits)  # fmt: skip
    facts = {"memory": {"live": live.memory, "cached": cached.memory}}
    return Made({"live": live, "cached": cached}, facts)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Times as median [smallest, largest] of the rounds."""
    head = ["pair", "time", "memory"]
    lines = []
    for row in rows:
        time = ratio(row["seconds"]["cached"], row["seconds"]["live"])
        cached, live = (sum(row["memory"][k].values()) for k in ("cached", "live"))
        lines.append([row["case"], str(time), f"{cached / live:.2f}"])
    return [head, *lines]
