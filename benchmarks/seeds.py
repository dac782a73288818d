"""KD of 1, 2, 4, 8 students in one program over that many runs of one, the teacher's forward
included in each.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Made, Row
from benchmarks.steps import Problem, Stepper, step_of
from benchmarks.timer import ratio
from kd.train.program import make_update

TITLE = "an update of several students in one program over as many updates of one"
REPEATS = 7

HOW = ("vmap", "unroll")
"""`map` puts gradients of convolutions into a loop, where XLA's CPU backend has no fast code for
them: see kd.devices.vectorize.
"""


def cases(toy: bool) -> Sequence[Case]:
    """Each kind of network by each number of seeds; on a GPU also those of the CIFAR-100 tables."""
    kinds, sizes = (TOYS, (2,)) if toy else (KINDS, (1, 2, 4, 8))
    gpu = jax.default_backend() == "gpu" and not toy
    net = {"name": "wrn.wrn_16_2"}
    tables = [Case("wrn_16_2, 5", partial(_make, net, 5, 64))] if gpu else []
    return tables + [
        Case(f"{kind}, {s}", partial(_make, net, s, 8 if toy else 64))
        for kind, net in kinds.items()
        for s in sizes
    ]


def _make(section: Mapping[str, Any], seeds: int, size: int) -> Made:
    alone = step_of("kd", Problem(section, section, size, SHAPE, CLASSES, 512))
    return Made(
        {"alone": alone, **{how: together(alone, seeds, how) for how in HOW}}, {"seeds": seeds}
    )


def together(alone: Stepper, seeds: int, how: str) -> Stepper:
    """The update of all seeds, each on a batch of its own."""
    state = jax.tree.map(lambda x: jnp.stack([x] * seeds), alone.state)
    size = alone.batch["image"].shape[0]
    order = jnp.tile(jnp.arange(size)[None], (seeds, 1))
    numbers = jnp.int32(0), jnp.int32(0)
    update = make_update(alone.step, size, how)
    inputs = {name: alone.batch[name] for name in ("image", "label")}
    call = lambda states, frozen, data: update(states, frozen, data, order, *numbers)
    compiled = jax.jit(call, donate_argnums=0)
    compiled = compiled.lower(state, alone.frozen, inputs).compile()
    return Stepper(compiled, state, alone.frozen, inputs, alone.step)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Time of all students over that of as many alone, median [smallest, largest] of the rounds."""
    head = ["network, seeds", *HOW]
    lines = []
    for row in rows:
        apart = [row["seeds"] * s for s in row["seconds"]["alone"]]
        over = [str(ratio(row["seconds"][how], apart)) for how in HOW]
        lines.append([row["case"], *over])
    return [head, *lines]
