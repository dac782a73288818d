"""The share of a run's time in which its device waits for the host: dispatch, order of the
examples, metrics, the record.

A run's loop over the same compiled updates, one after the other with nothing else done: what is
more is the host's. On a CPU seconds are the processors', which other work on the machine touches
less; what the host does while the device is busy counts there too, so that the share is the most
that it can be.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.networks import TOYS
from benchmarks.record import Case, Made, Row
from benchmarks.timer import ratio
from kd import config
from kd.build import spell_out
from kd.runs.checkpoint import Checkpoints
from kd.runs.progress import Progress
from kd.runs.record import Record
from kd.runs.workdir import Workdir
from kd.train.loop import train
from kd.train.setup import Setup, prepare

TITLE = "a run's loop over its compiled updates alone; what is more, the device waits"
REPEATS = 9

EPOCHS, SIZE, SIDE = 2, 64, 28
KINDS = {
    "CNN": {"name": "cnn.CNN", "widths": (8, 16, 32)},
    "MLP": {"name": "mlp.MLP", "widths": (256, 256)},
}


def cases(toy: bool) -> Sequence[Case]:
    """Small networks on grey images, whose updates are short, with a dispatch for each, and for
    many.

    On a CPU networks that convolve are dispatched one by one, whatever is asked for.
    """
    kinds = {"MLP": TOYS["MLP"]} if toy else KINDS
    alone = ("CNN",) if jax.default_backend() == "cpu" else ()
    many = 8 if toy else 64
    return [
        Case(f"{kind}, {n} updates a dispatch", partial(_make, net, n))
        for kind, net in kinds.items()
        for n in ((1,) if kind in alone else (1, many))
    ]


def _now() -> float:
    cpu = jax.default_backend() == "cpu"
    return time.process_time() if cpu else time.perf_counter()


class _Unsaved(Checkpoints):
    """In place of checkpoints: this is about all the rest."""

    def __init__(self) -> None: ...

    def save(self, state: Any, step: int) -> None: ...

    def wait(self) -> None: ...


def _make(network: Mapping[str, Any], updates: int) -> Made:
    home = Path(tempfile.mkdtemp(prefix="kd-benchmark-"))
    image = np.random.default_rng(0).integers(0, 256, (64 * SIZE, SIDE, SIDE), np.uint8)
    label = np.arange(len(image)) % 10
    np.savez(home / "data.npz", x_train=image, y_train=label, x_test=image[:64], y_test=label[:64])
    c = ConfigDict()
    c.data = dict(name="arrays", path=str(home / "data.npz"))
    c.student = network
    c.objective = dict(ce=dict(name="ce.CE"))
    c.optimizer = dict(name="sgd", learning_rate=0.01)
    c.batch_size, c.epochs, c.steps_per_call = SIZE, EPOCHS, updates
    c.eval_every = EPOCHS
    setup = prepare(spell_out(config.complete(c)))
    parts = {"alone": partial(_alone, setup), "loop": partial(_loop, setup, home)}
    return Made(parts, {"updates": setup.plan.steps})


def _alone(setup: Setup) -> float:
    """Seconds of all dispatches, whose arguments are there, and nothing else."""
    state, (frozen, data) = setup.init(), setup.inputs
    orders = [setup.order(jnp.int32(epoch)) for epoch in range(EPOCHS)]
    calls = [
        (
            setup.updates[call.batch_size],
            orders[call.epoch],
            [jnp.int32(n) for n in (call.epoch, call.start, call.count)],
        )
        for call in setup.plan.calls(0)
    ]
    jax.block_until_ready((state, orders, calls[-1][2]))
    start = _now()
    for update, order, numbers in calls:
        state, _ = update(state, frozen, data, order, *numbers)
    jax.block_until_ready(state)
    return _now() - start


def _loop(setup: Setup, home: Path) -> float:
    """Seconds of the run's loop, without its evaluation and its checkpoint."""
    state = jax.block_until_ready(setup.init())
    workdir = Workdir(home)
    scores: Callable = lambda state: jax.block_until_ready(state) and {"accuracy": [0]}
    record = Record(workdir, 0)
    with Path(os.devnull).open("w") as unheard:
        progress = Progress("benchmark", setup.plan.steps, 0, unheard)
        start = _now()
        train(
            state,
            setup.plan,
            setup.updates,
            setup.order,
            setup.inputs,
            scores,
            record,
            _Unsaved(),
            progress,
            eval_every=EPOCHS,
            save_seconds=float("inf"),
        )
        seconds = _now() - start
        progress.close()
    record.close()
    return seconds


def table(rows: Sequence[Row]) -> list[list[str]]:
    """The loop over its updates, as median [smallest, largest] of the rounds, and the share of the
    loop that the median leaves.
    """
    lines = [["network, dispatches", "loop over updates alone", "device waits"]]
    for row in rows:
        seconds = row["seconds"]
        over = ratio(seconds["loop"], seconds["alone"])
        share = 1 - 1 / over.median
        lines.append([row["case"], str(over), f"{100 * max(0.0, share):.1f} %"])
    return lines
