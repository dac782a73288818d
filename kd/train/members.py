"""Checks of a teacher's members, and their placement on the devices."""

import os
from collections.abc import Callable, Sequence

from jax.sharding import Mesh, NamedSharding

from kd.build import make_data
from kd.config import ConfigDict
from kd.config.teachers import Members, groups_of, known_size, member_weights
from kd.devices.mesh import member_sharding, replicated, shard_members
from kd.errors import InputError
from kd.runs.networks import workdirs_of_teachers
from kd.runs.teacher_input import fitting_view
from kd.runs.workdir import Workdir
from kd.teachers import reduction
from kd.train import placement


def check_teachers(config: ConfigDict, root: os.PathLike | str) -> None:
    """Raises InputError for what the teacher cannot be, before missing networks are trained.

    Checks what is known without them.
    """
    groups, workdirs = groups_of(config.teacher), workdirs_of_teachers(config, root)
    if all(workdir.finished for workdir in workdirs):
        return
    dataset, sizes = make_data(config), []
    for group, workdir in zip(groups, workdirs, strict=True):
        size = known_size(group)
        if workdir.finished:
            result = workdir.read("result.json")
            fitting_view(config.teacher.get("input"), result, dataset, f"the teacher in {workdir}")
            networks = len(result["seeds"]) * len(result.get("peers", [1]))
            size = len(group.indices(networks, workdir))
        sizes.append(size)
    if None not in sizes:
        check_sizes(config, workdirs[0], sizes)
        member_weights(groups, sizes)
        place_members(config, groups, sizes, placement.make_mesh(config))


def check_sizes(config: ConfigDict, workdir: Workdir | str, sizes: Sequence[int]) -> None:
    """Raises InputError if the number of members fits neither the seeds nor the reduction."""
    section = config.teacher
    paired = section.members == "paired"
    if paired and sizes[0] != config.seeds:
        raise InputError(
            f"config.teacher.members = 'paired' needs as many teachers as seeds: {workdir} has "
            f"{sizes[0]}, config.seeds is {config.seeds}."
        )
    if reduction.find(section.reduce).computes_weights and (paired or sum(sizes) == 1):
        raise InputError(
            f"config.teacher.reduce = {section.reduce!r} weighs several members against one "
            f"another, and each student learns from one member of {workdir}. Name more members, or "
            "leave reduce out."
        )


def place_members(
    config: ConfigDict, groups: Sequence[Members], sizes: Sequence[int], mesh: Mesh
) -> tuple[NamedSharding, Callable | None]:
    """Where the members of every group are placed, and what spreads their evaluation.

    The second is None where each device evaluates all the members that it needs.
    """
    teacher_devices = mesh.shape["teacher"]
    if config.teacher.members == "paired" or sum(sizes) == 1:
        if teacher_devices > 1:
            raise InputError(
                f"config.devices.teacher = {teacher_devices}: each student here has one teacher, "
                "which cannot be split. Use config.devices.data."
            )
        return replicated(mesh), None
    for group, size in zip(groups, sizes, strict=True):
        member_sharding(mesh, size, group.where)  # raises where they do not divide
    place = member_sharding(mesh, teacher_devices)
    # A drawn member is evaluated by all devices. Where members are on different devices, all are
    # evaluated and one is taken.
    draws_alone = reduction.find(config.teacher.reduce).draws and teacher_devices == 1
    if draws_alone or not placement.spreads(config):
        return place, None
    return place, shard_members(mesh)
