"""Forward of 1, 2, 4, 8 teachers under vmap, map and unroll, divided by unroll.

The defaults of `kd.devices.vectorize` come from this.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import libraries
from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Prepared, Row
from benchmarks.timer import ratio
from kd import build, teachers
from kd.devices.vectorize import METHODS

TITLE = "forward of an ensemble by each way of going over it, over unroll; batch 64"
REPEATS = 15


def cases(toy: bool) -> Sequence[Case]:
    """Each kind of network with each number of members."""
    kinds, sizes = (TOYS, (2,)) if toy else (KINDS, (1, 2, 4, 8))
    return [
        Case(f"{kind}, {m}", partial(prepared, net, m, 8 if toy else 64))
        for kind, net in kinds.items()
        for m in sizes
    ]


def prepared(section: Mapping[str, Any], members: int, size: int) -> Prepared:
    """Each way of going over the members, on `size` images."""
    net = build.make_model(section, CLASSES)
    rng = np.random.default_rng(0)
    image = jax.numpy.asarray(rng.standard_normal((size, *SHAPE)), "float32")
    keys = jax.random.split(jax.random.key(0), members)
    weights = jax.jit(jax.vmap(lambda key: net.init(key, image)))(keys)

    def forward(how: str) -> Any:
        apply = teachers.ensemble(net, "probs", how).apply
        compiled = jax.jit(lambda w, x: apply(w, (), {"image": x}).logits)  # pyrefly: ignore
        with libraries.using():
            return partial(compiled.lower(weights, image).compile(), weights, image)

    return Prepared({how: forward(how) for how in METHODS}, {})


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Times divided by that of unroll, as median [smallest, largest] of the rounds."""
    head = ["network, members", "vmap over unroll", "map over unroll"]
    lines = []
    for row in rows:
        times = row["seconds"]
        over = [str(ratio(times[how], times["unroll"])) for how in ("vmap", "map")]
        lines.append([row["case"], *over])
    return [head, *lines]
