"""The fraction of a run's time in which its device waits for the host.

The host dispatches, orders examples, and records metrics. A run's loop is compared with the same
compiled updates called one after the other. On a CPU, seconds are CPU time, which other work on the
machine affects less. There, what the host does while the device is busy counts too, so that the
fraction is an upper bound.
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

from benchmarks import libraries
from benchmarks.networks import TOYS
from benchmarks.record import Case, Prepared, Row
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
    """Small networks on grey images, whose updates are short, with one and many per dispatch.

    On a CPU, updates with XLA's convolutions are always dispatched one by one.
    """
    kinds = {"MLP": TOYS["MLP"]} if toy else KINDS
    slow = jax.default_backend() == "cpu" and libraries.current() == libraries.XLA
    one_by_one = ("CNN",) if slow else ()
    many = 8 if toy else 64
    return [
        Case(f"{kind}, {n} updates a dispatch", partial(_make, net, n))
        for kind, net in kinds.items()
        for n in ((1,) if kind in one_by_one else (1, many))
    ]


def _now() -> float:
    cpu = jax.default_backend() == "cpu"
    return time.process_time() if cpu else time.perf_counter()


class _Unsaved(Checkpoints):
    """Writes no checkpoints, which are not measured."""

    def __init__(self) -> None: ...

    def save(self, state: Any, step: int) -> None: ...

    def wait(self) -> None: ...


def _make(network: Mapping[str, Any], updates: int) -> Prepared:
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
    return Prepared(parts, {"updates": setup.plan.steps})


def _alone(setup: Setup) -> float:
    """Seconds of all dispatches, with arguments that are already on the device."""
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
    """Seconds of the run's loop, without evaluation and checkpoint."""
    state = jax.block_until_ready(setup.init())
    workdir = Workdir(home)
    scores: Callable = lambda state: jax.block_until_ready(state) and {"accuracy": [0]}
    record = Record(workdir, 0)
    with Path(os.devnull).open("w") as null:
        progress = Progress("benchmark", setup.plan.steps, 0, null)
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
    """Time of the loop divided by that of its updates, and the fraction that the median implies."""
    lines = [["network, dispatches", "loop over updates alone", "device waits"]]
    for row in rows:
        seconds = row["seconds"]
        over = ratio(seconds["loop"], seconds["alone"])
        share = 1 - 1 / over.median
        lines.append([row["case"], str(over), f"{100 * max(0.0, share):.1f} %"])
    return lines
