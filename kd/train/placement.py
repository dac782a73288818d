"""Device placement: sharding of batches or seeds, and jit, pmap or shard_map."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kd.config import ConfigDict
from kd.devices import mesh as sharding
from kd.devices import options, pmap
from kd.errors import InputError
from kd.types import Batch

type Constraint = Callable[[Batch], Batch]
"""Puts a sharding constraint on a batch."""


def _unconstrained(batch: Batch) -> Batch:
    return batch


class Placement(NamedTuple):
    """How batches of one size are compiled and sharded.

    The constraints are those of `make_update` (a batch as it is read), of the augmentation's result
    and of `make_step` (what the student sees).
    """

    compile: Callable[[Callable], Callable]
    read: Constraint = _unconstrained
    augmented: Constraint = _unconstrained
    student: Constraint = _unconstrained
    axis_name: str | None = None


def make_mesh(config: ConfigDict) -> Mesh:
    """The devices of a run.

    Raises InputError if they do not fit together, or the batch or the seeds do not divide.
    """
    devices = config.devices
    teacher, data, seeds = devices.teacher, devices.data, devices.seeds
    if seeds != 1 and (teacher != 1 or data != 1 or devices.transform != "jit"):
        raise InputError(
            f"config.devices.seeds = {seeds}: devices that share the seeds share nothing else. "
            "Leave teacher, data and transform at 1, 1 and 'jit'."
        )
    if devices.transform == "pmap" and teacher != 1:
        raise InputError(
            f"config.devices.teacher = {teacher}: under pmap each device runs all members. Use "
            "config.devices.data, or transform = 'jit'."
        )
    if jax.process_count() > 1 and (seeds != 1 or devices.transform == "pmap"):
        raise InputError(
            f"config.devices: {jax.process_count()} processes run the mesh of teacher and data "
            "under 'jit' alone."
        )
    if seeds < 1 or config.seeds % seeds:
        raise InputError(
            f"config.devices.seeds = {seeds}: config.seeds = {config.seeds} do not divide among as "
            "many devices."
        )
    if seeds > 1:
        return sharding.make_mesh(1, seeds)
    mesh = sharding.make_mesh(teacher, data)
    sharding.check_batch(mesh, config.batch_size, config.accumulate)
    return mesh


def check_streamed(config: ConfigDict) -> None:
    """Raises InputError for a placement that streamed pictures do not support."""
    devices = config.devices
    if devices.seeds > 1 or devices.transform == "pmap":
        raise InputError(
            "config.data decodes pictures as they are needed, which feeds the devices of teacher "
            "and data under transform = 'jit'. Leave config.devices.seeds at 1."
        )


def spreads(config: ConfigDict) -> bool:
    """True if members of an ensemble are spread over devices; else every device runs all."""
    return config.devices.transform == "jit" and config.devices.seeds == 1


def choose(
    config: ConfigDict,
    mesh: Mesh,
    batch_size: int,
    spread: bool,
    per_student: bool,
    parts: int = 1,
) -> Placement:
    """The placement of batches of `batch_size`.

    Args:
      config: `devices` is read.
      mesh: from `make_mesh`.
      batch_size: of the full batches, or of the short one.
      spread: whether an ensemble is spread over the devices.
      per_student: whether each student has its own teacher weights or logits.
      parts: that a batch is computed in, see `kd.accumulation`.
    """
    if config.devices.seeds > 1:
        return Placement(_over_seeds(mesh, per_student))
    divides = batch_size % mesh.size == 0
    if config.devices.transform == "pmap" and divides:
        local = pmap.local_batch(mesh, batch_size)
        return Placement(pmap.compiler(mesh), local, axis_name=pmap.AXIS)
    # An ensemble's batch is split over "data" alone; without an ensemble, as the student's.
    axes = ("data",) if spread else sharding.ALL
    # Parts of unequal sizes, of a short last batch, are replicated.
    part = batch_size // parts if batch_size % parts == 0 else 1
    teacher = sharding.split_batch(mesh, part, axes)
    student = sharding.split_batch(mesh, part)
    read = sharding.split_batch(mesh, batch_size, axes)
    return Placement(sharding.compiler(mesh), read, teacher, student)


def _seed_axis(mesh: Mesh) -> Mesh:
    return Mesh(mesh.devices.reshape(-1), ("seed",))


def place_of_states(config: ConfigDict, mesh: Mesh) -> NamedSharding:
    """Sharding of the students' states: replicated, or split over the seeds."""
    if config.devices.seeds > 1:
        return NamedSharding(_seed_axis(mesh), P("seed"))
    return sharding.replicated(mesh)


def _over_seeds(mesh: Mesh, per_student: bool) -> Callable[[Callable], Callable]:
    """`compile(f)` of an update that each device runs for its own seeds, without communication."""
    frozen = {"teacher": P("seed") if per_student else P(), "tables": P()}

    def compile(f: Callable) -> Callable:
        def updates(states: Any, weights: Any, data: Any, order: Any, *numbers: Any):
            return jax.shard_map(
                f,
                mesh=_seed_axis(mesh),
                in_specs=(P("seed"), frozen, P(), P("seed"), *[P()] * len(numbers)),
                out_specs=P("seed"),
                check_vma=False,  # the loop over updates starts with replicated logs
            )(states, weights, data, order, *numbers)

        return options.jit(updates, donate_argnums=0)

    return compile


def spread_students(config: ConfigDict, mesh: Mesh) -> Callable | None:
    """Evaluates each device's own seeds, `f(variables [s, ...], (), batch)`; None without seeds
    split over devices.
    """
    if config.devices.seeds == 1:
        return None
    return partial(
        jax.shard_map, mesh=_seed_axis(mesh), in_specs=(P("seed"), P(), P()), out_specs=P("seed")
    )
