"""The place of each run among those that a command trains, such as "2 of 3: student"."""

import os
from collections.abc import Mapping

from kd import build
from kd.config import ConfigDict
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.train.sources import Source, sources_of

type Compared = Mapping[str, tuple[ConfigDict, Workdir]]


def places(
    config: ConfigDict, workdir: Workdir, compared: Compared, root: os.PathLike | str
) -> dict[str, str]:
    """The place of each unfinished run by its directory; nothing where there is only one.

    Args:
      config: spelled out.
      workdir: directory of the run.
      compared: configs and directories of the runs of `config.compare`, by label.
      root: directory of the runs whose config names no directory.
    """
    roles: dict[str, str] = {}
    try:
        _add(roles, config, workdir, "student", root)
        for label, (other, directory) in compared.items():
            _add(roles, other, directory, label, root)
    except InputError:  # the run itself says what is wrong
        return {}
    if len(roles) == 1:
        return {}
    return {
        directory: f"{i} of {len(roles)}: {role}"
        for i, (directory, role) in enumerate(roles.items(), 1)
    }


def _add(
    roles: dict[str, str],
    config: ConfigDict,
    workdir: Workdir,
    role: str,
    root: os.PathLike | str,
    waiting: tuple[str, ...] = (),
) -> None:
    """Adds the runs that a run builds on, and then the run, in the order of their training."""
    name = str(workdir)
    if name in roles or name in waiting or workdir.finished:
        return
    sources = sources_of(config, root)

    def add(source: Source, role: str) -> None:
        if source.config:
            other = build.load_config(source.config)
            _add(roles, other, source.workdir, role, root, (*waiting, name))

    for i, source in enumerate(sources.teachers, 1):
        add(source, "teacher" if len(sources.teachers) == 1 else f"teacher {i}")
    if sources.start:
        add(sources.start, "warm start")
    roles[name] = role
