"""An update in a loop on the device, over the same update dispatched alone: the choice of `loop`.

With each library of convolutions, whose code within loops differs, in processor time.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import libraries
from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import Problem, Stepper, step_of
from benchmarks.timer import ratio
from kd.convolutions.lowering import compiled_by
from kd.train.program import make_update, make_updates

TITLE = "an update in a loop of 4 on the device over one dispatched alone: processor time"
REPEATS = 7

UPDATES = 4
"""Updates in the loop."""


def cases(toy: bool) -> Sequence[Case]:
    """Each kind of network with batches of 32."""
    kinds = TOYS if toy else KINDS
    return [
        Case(kind, partial(_make, net, 8 if toy else 32, kind == "CNN"))
        for kind, net in kinds.items()
    ]


def _make(section: Mapping[str, Any], size: int, convolves: bool) -> Prepared:
    parts: dict[str, Callable[[], Any]] = {}
    for library in libraries.available() if convolves else libraries.available()[-1:]:
        with libraries.using(library):
            single = step_of("kd", Problem(section, section, size, SHAPE, CLASSES, 512))
            for loop in ("host", "device"):
                call = looped(single, size, loop)
                parts[f"{loop}, {library}"] = partial(_spent, call)
                call()  # compiles
    return Prepared(parts, {"convolves": convolves})


def looped(single: Stepper, size: int, loop: str) -> Callable[[], Any]:
    """UPDATES updates of one student on one batch."""
    states = jax.tree.map(lambda x: jnp.stack([x]), single.state)
    order = jnp.tile(jnp.arange(size)[None], (1, UPDATES))
    inputs = {name: single.batch[name] for name in ("image", "label")}
    updates = make_updates(make_update(single.step, size), size, UPDATES, loop)
    updates = compiled_by(libraries.current(), updates)

    def call() -> Any:
        nonlocal states
        numbers = jnp.int32(0), jnp.int32(0), jnp.int32(UPDATES)
        states, logs = updates(states, single.frozen, inputs, order, *numbers)
        return jax.block_until_ready(logs)

    return call


def _spent(function: Callable[[], Any]) -> float:
    """CPU seconds of the process."""
    start = time.process_time()
    function()
    return time.process_time() - start


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Processor time in the loop divided by that of single dispatches, for each library."""
    lines = [["network", "convolutions", "in a loop over alone", "alone, over XLA's"]]
    for row in rows:
        seconds = row["seconds"]
        for library, title in libraries.NAMES.items():
            if f"host, {library}" in seconds:
                alone = seconds[f"host, {library}"]
                over = seconds.get(f"host, {libraries.XLA}", alone)
                cells = str(ratio(seconds[f"device, {library}"], alone)), str(ratio(alone, over))
                lines.append([row["case"], title if row["convolves"] else "none", *cells])
    return lines
