"""KD of 1, 2, 4, 8 students in one program, divided by as many runs of one student.

Both include the teacher's forward.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import libraries
from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import Problem, Stepper, step_of
from benchmarks.timer import ratio
from kd.devices.vectorize import METHODS
from kd.train.program import make_update

TITLE = "an update of several students in one program over as many updates of one"
REPEATS = 7

HOW = METHODS
"""With XLA's convolutions without `map`, which puts their gradients into a loop.

XLA's CPU backend has no fast code for them there; see `kd.devices.vectorize`.
"""


def cases(toy: bool) -> Sequence[Case]:
    """Each kind of network and number of seeds; on a GPU also those of the CIFAR-100 tables."""
    kinds, sizes = (TOYS, (2,)) if toy else (KINDS, (1, 2, 4, 8))
    gpu = jax.default_backend() == "gpu" and not toy
    net = {"name": "wrn.wrn_16_2"}
    tables = [Case("wrn_16_2, 5", partial(prepared, net, 5, 64))] if gpu else []
    return tables + [
        Case(f"{kind}, {s}", partial(prepared, net, s, 8 if toy else 64))
        for kind, net in kinds.items()
        for s in sizes
    ]


def prepared(section: Mapping[str, Any], seeds: int, size: int) -> Prepared:
    """An update of one student, and each way of updating several, on `size` images each."""
    single = step_of("kd", Problem(section, section, size, SHAPE, CLASSES, 512))
    slow = "cnn" in section["name"] and libraries.current() == libraries.XLA
    hows = [how for how in HOW if how != "map" or not slow]
    return Prepared(
        {"alone": single, **{how: together(single, seeds, how) for how in hows}}, {"seeds": seeds}
    )


def together(single: Stepper, seeds: int, how: str) -> Stepper:
    """The update of all seeds in one program, each with its batch."""
    state = jax.tree.map(lambda x: jnp.stack([x] * seeds), single.state)
    size = single.batch["image"].shape[0]
    order = jnp.tile(jnp.arange(size)[None], (seeds, 1))
    numbers = jnp.int32(0), jnp.int32(0)
    update = make_update(single.step, size, how)
    inputs = {name: single.batch[name] for name in ("image", "label")}
    call = lambda states, frozen, data: update(states, frozen, data, order, *numbers)
    compiled = jax.jit(call, donate_argnums=0)
    with libraries.using():
        compiled = compiled.lower(state, single.frozen, inputs).compile()
    return Stepper(compiled, state, single.frozen, inputs, single.step)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Time of all students divided by that of as many runs of one."""
    head = ["network, seeds", *HOW]
    lines = []
    for row in rows:
        separate = [row["seeds"] * s for s in row["seconds"]["alone"]]
        seconds = row["seconds"]
        over = [str(ratio(seconds[how], separate)) if how in seconds else "" for how in HOW]
        lines.append([row["case"], *over])
    return [head, *lines]
