"""How the updates of a run use its devices: which part of a batch, or which seeds, each of them
takes, and what compiles it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kd.config import ConfigDict
from kd.devices import mesh as sharding
from kd.devices import pmap
from kd.errors import InputError
from kd.types import Batch

type Place = Callable[[Batch], Batch]


def _whole(batch: Batch) -> Batch:
    return batch


class Tactic(NamedTuple):
    """What `make_step`, `make_update` and `make_updates` are given for batches of one size."""

    compile: Callable[[Callable], Callable]
    place: Place = _whole  # of a batch as it is read
    seen: Place = _whole  # of a batch after augmentation
    split: Place = _whole  # of what the student sees
    axis_name: str | None = None


def make_mesh(config: ConfigDict) -> Mesh:
    """The devices of a run. Raises InputError where they do not fit together, or the batch or the
    seeds do not divide.
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
    sharding.check_batch(mesh, config.batch_size)
    return mesh


def check_streamed(config: ConfigDict) -> None:
    """Raises InputError where pictures that are decoded as they are needed would have to be sent to
    shares of the work.
    """
    devices = config.devices
    if devices.seeds > 1 or devices.transform == "pmap":
        raise InputError(
            "config.data decodes pictures as they are needed, which feeds the devices of teacher "
            "and data under transform = 'jit'. Leave config.devices.seeds at 1."
        )


def spreads(config: ConfigDict) -> bool:
    """Whether members of an ensemble are spread over the devices; else each device runs all of
    them.
    """
    return config.devices.transform == "jit" and config.devices.seeds == 1


def choose(config: ConfigDict, mesh: Mesh, batch_size: int, spread: bool, paired: bool) -> Tactic:
    """The tactic for batches of `batch_size`.

    Args:
      config: `devices` is read.
      mesh: from `make_mesh`.
      batch_size: of the full batches, or of the short one.
      spread: whether an ensemble is spread over the devices.
      paired: whether each student has a teacher of its own.
    """
    if config.devices.seeds > 1:
        return Tactic(_over_seeds(mesh, paired))
    divides = batch_size % mesh.size == 0
    if config.devices.transform == "pmap" and divides:
        own = pmap.local_batch(mesh, batch_size)
        return Tactic(pmap.compiler(mesh), own, axis_name=pmap.AXIS)
    # What an ensemble sees is split over "data" alone; without one, all see what the student sees.
    axes = ("data",) if spread else sharding.ALL
    seen = sharding.split_batch(mesh, batch_size, axes)
    split = sharding.split_batch(mesh, batch_size)
    return Tactic(sharding.compiler(mesh), seen, seen, split)


def _seed_axis(mesh: Mesh) -> Mesh:
    return Mesh(mesh.devices.reshape(-1), ("seed",))


def place_of_states(config: ConfigDict, mesh: Mesh) -> NamedSharding:
    """Where the states of the students are: on all devices, or with their seeds."""
    if config.devices.seeds > 1:
        return NamedSharding(_seed_axis(mesh), P("seed"))
    return sharding.replicated(mesh)


def _over_seeds(mesh: Mesh, paired: bool) -> Callable[[Callable], Callable]:
    """`compile(f)` of an update that each device runs for its own seeds, with nothing to tell one
    another.
    """
    frozen = {"teacher": P("seed") if paired else P(), "tables": P()}

    def compile(f: Callable) -> Callable:
        def updates(states: Any, given: Any, data: Any, order: Any, *numbers: Any):
            return jax.shard_map(
                f,
                mesh=_seed_axis(mesh),
                in_specs=(P("seed"), frozen, P(), P("seed"), *[P()] * len(numbers)),
                out_specs=P("seed"),
                # a loop over updates begins with logs that are the same everywhere
                check_vma=False,
            )(states, given, data, order, *numbers)

        return jax.jit(updates, donate_argnums=0)

    return compile


def spread_students(config: ConfigDict, mesh: Mesh) -> Callable | None:
    """`each(variables [s, ...], (), batch)` by each device for its own seeds, where they are shared
    out.
    """
    if config.devices.seeds == 1:
        return None
    return partial(
        jax.shard_map, mesh=_seed_axis(mesh), in_specs=(P("seed"), P(), P()), out_specs=P("seed")
    )
