"""The finished runs that a run builds on: those of its teachers and that of its warm start."""

import os
from typing import NamedTuple

from kd.config import ConfigDict
from kd.config.teachers import groups_of
from kd.errors import InputError
from kd.runs.networks import workdir_of, workdirs_of_teachers
from kd.runs.workdir import Workdir
from kd.train import imported


class Source(NamedTuple):
    """A run that another run builds on."""

    key: str  # of the config, such as "config.teacher"
    config: str  # reference of the config that trains it, or ""
    workdir: Workdir


class Sources(NamedTuple):
    """What a run builds on."""

    teachers: tuple[Source, ...]  # one for each group
    start: Source | None  # the warm start


def sources_of(config: ConfigDict, root: os.PathLike | str) -> Sources:
    """The runs that a config names.

    Args:
      config: spelled out.
      root: directory of the runs whose config names no directory.
    """
    groups, workdirs = groups_of(config.teacher), workdirs_of_teachers(config, root)
    teachers = tuple(
        Source(group.where, group.config, workdir)
        for group, workdir in zip(groups, workdirs, strict=True)
    )
    start = workdir_of(config.init, root)
    if start is None:
        return Sources(teachers, None)
    return Sources(teachers, Source("config.init", config.init.config, start))


def require(source: Source) -> None:
    """Raises InputError if the run does not exist and no config says how to train it."""
    key, config, workdir = source
    if not (config or workdir.finished or imported.awaits_evaluation(workdir)):
        raise InputError(
            f"{key}.run: {workdir} is no finished run, and {key}.config does not say how to make "
            "it."
        )
