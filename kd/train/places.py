"""The place of each run among those that a command trains, and the command of each alone."""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kd import build
from kd.config import ConfigDict
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.train.sources import Source, sources_of

type Compared = Mapping[str, tuple[ConfigDict, Workdir]]


class Place(NamedTuple):
    """A run among those that a command trains.

    Attributes:
      text: its number and role, such as "2 of 3: student"; empty where there is only one.
      command: the command that trains this run alone, without directories; empty where a config
        came from no file.
    """

    text: str = ""
    command: str = ""


def command(reference: str, overrides: Sequence[str] = ()) -> str:
    """The command that trains a reference of a config with overrides such as `--config.seeds=2`."""
    return shlex.join(["kd", "run", "--config", reference, *overrides])


def places(
    config: ConfigDict,
    workdir: Workdir,
    compared: Compared,
    root: os.PathLike | str,
    of_run: str = "",
) -> dict[str, Place]:
    """The place of each unfinished run, by its directory.

    Args:
      config: spelled out.
      workdir: directory of the run.
      compared: configs and directories of the runs of `config.compare`, by label.
      root: directory of the runs whose config names no directory.
      of_run: of the run.
    """
    kept: dict[str, Place] = {}
    try:
        _add(kept, config, workdir, Place("student", of_run), root)
        for label, (other, directory) in compared.items():
            _add(kept, other, directory, Place(label, command(config.compare[label])), root)
    except InputError:  # the run itself says what is wrong
        return {}
    text = lambda i, role: f"{i} of {len(kept)}: {role}" if len(kept) > 1 else ""
    return {
        directory: place._replace(text=text(i, place.text))
        for i, (directory, place) in enumerate(kept.items(), 1)
    }


def _add(
    kept: dict[str, Place],
    config: ConfigDict,
    workdir: Workdir,
    place: Place,
    root: os.PathLike | str,
    waiting: tuple[str, ...] = (),
) -> None:
    """Adds the runs that a run builds on, and then the run, in the order of their training."""
    name = str(workdir)
    if name in kept or name in waiting or workdir.finished:
        return
    sources = sources_of(config, root)

    def add(source: Source, role: str) -> None:
        if source.config:
            other = build.load_config(source.config)
            place = Place(role, command(source.config))
            _add(kept, other, source.workdir, place, root, (*waiting, name))

    for i, source in enumerate(sources.teachers, 1):
        add(source, "teacher" if len(sources.teachers) == 1 else f"teacher {i}")
    if sources.start:
        add(sources.start, "warm start")
    kept[name] = place
