"""The step of KD on 1, 2, 4 and 8 simulated devices: the cost of splitting a batch or an ensemble.

All devices share the same cores.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import optax

from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import Problem, batch
from benchmarks.timer import ratio
from benchmarks.worker import Worker
from kd import build, teachers
from kd.devices import mesh as sharding
from kd.init import make_init
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.objectives.kd import KD
from kd.step import make_step

TITLE = (
    "a step on several simulated devices over one on a single, on the same cores: processor time"
)
REPEATS = 9

MEMBERS = 8

MESHES = {"batch": ((1, 1), (1, 2), (1, 4), (1, 8)), "members": ((1, 1), (2, 1), (4, 1), (8, 1))}
"""What is divided -> (teacher, data) of the meshes."""


def cases(toy: bool) -> Sequence[Case]:
    """An ensemble of eight CNNs, and one of eight MLPs."""
    nets, size = (TOYS, 8) if toy else (KINDS, 64)
    problems = {
        kind: Problem(nets[kind], nets[kind], size, SHAPE, CLASSES, 512) for kind in ("CNN", "MLP")
    }
    return [
        Case(f"{kind}, {what}", partial(_make, problem, meshes[: 2 if toy else None]))
        for kind, problem in problems.items()
        for what, meshes in MESHES.items()
    ]


def step(problem: Problem, rows: int, columns: int) -> Callable[[], Any]:
    """An update with an ensemble on a mesh of devices, as `kd.train.setup` makes it."""
    mesh = sharding.make_mesh(rows, columns)
    big = build.make_model(problem.teacher, problem.num_classes)
    small = build.make_model(problem.student, problem.num_classes)
    how = "unroll" if "CNN" in problem.teacher["name"] else "vmap"
    teacher = teachers.ensemble(big, "probs", how, sharding.shard_members(mesh))
    objective = Weighted({"ce": CE(), "kd": KD(4.0)}, {"ce": 0.1, "kd": 0.9})
    parts = small, objective, teacher, optax.sgd(0.05, momentum=0.9)
    example = batch(problem)
    keys = jax.random.split(jax.random.key(0), MEMBERS)
    weights = jax.jit(jax.vmap(lambda key: big.init(key, example["image"])))(keys)
    frozen = {
        "teacher": sharding.to_devices(weights, sharding.member_sharding(mesh, MEMBERS)),
        "tables": {},
    }
    everywhere = sharding.replicated(mesh)
    example = sharding.to_devices(example, everywhere)
    init = jax.jit(make_init(*parts), out_shardings=everywhere)
    state = init(jax.random.key(0), frozen, example)
    seen = sharding.split_batch(mesh, problem.batch_size, ("data",))
    augment = lambda key, batch: seen(batch)
    split = sharding.split_batch(mesh, problem.batch_size)
    update = sharding.compiler(mesh)(make_step(*parts, augment, split=split))

    def call() -> Any:
        nonlocal state
        state, metrics = update(state, frozen, example)
        return metrics

    jax.block_until_ready(call())
    return call


def _make(problem: Problem, meshes: Sequence[tuple[int, int]]) -> Prepared:
    part = lambda rows, columns: Worker(step, problem, rows, columns, devices=rows * columns)
    return Prepared({str(r * c): part(r, c) for r, c in meshes}, {})


def table(rows: Sequence[Row]) -> list[list[str]]:
    """CPU time divided by that of one device, as median [smallest, largest] of the rounds."""
    counts = list(rows[0]["seconds"])[1:] if rows else []
    lines = [["network, what is divided", *(f"{n} devices" for n in counts)]]
    for row in rows:
        seconds = row["seconds"]
        over = (str(ratio(seconds[n], seconds["1"])) for n in counts)
        lines.append([row["case"], *over])
    return lines
