"""Engines: what computes the runs of a table. One file each, found by its name.

A file has a class `Engine`, made from `Settings`, with the methods of `Starts` or of `Submits`: the
runs of the first are started and watched by the command, those of the second wait in a queue of
their own, so that the command returns.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from kd.errors import unknown
from kd.runs.workdir import Workdir

PARTS = ("each", "places", "records")
"""Files of this package that are no engines."""

RETRIES = 20
"""How often a run is started again that was stopped, killed, or lost with its node."""

SAVED = 75
"""Exit status of a run that saved its state and stopped."""

AGAIN = (SAVED, 143, 137, 129, 134)
"""Exit statuses after which a run is started again: saved, or ended by a signal from outside."""


class Work(NamedTuple):
    """A run to be computed.

    Attributes:
      reference: its config, `FILE.py:arguments`.
      workdir: its directory.
      needs: references of the runs that must be finished before it.
      command: that computes it, from the working directory.
    """

    reference: str
    workdir: Workdir
    needs: tuple[str, ...]
    command: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the user asked of an engine.

    Attributes:
      root: directory of all runs.
      each: resources of each run, see `kd.engines.each`.
      jobs: how many runs at a time; None for no limit.
      retries: how often a run is started again.
      address: of a cluster.
      header: file with lines for the head of each job's script.
      shared: whether the user says that all nodes see `root`.
    """

    root: str
    each: Mapping[str, str] = dataclasses.field(default_factory=dict)
    jobs: int | None = None
    retries: int = RETRIES
    address: str | None = None
    header: str | None = None
    shared: bool = False


class Ended(NamedTuple):
    """How a run ended: the exit status, None if its node was lost; and why, where that is known."""

    status: int | None
    words: str = ""

    @property
    def again(self) -> bool:
        """Whether it is to be started again: nothing is wrong with the run itself."""
        return self.status is None or self.status in AGAIN


@runtime_checkable
class Task(Protocol):
    """A run that was started."""

    def poll(self) -> Ended | None:
        """How it ended; None while it runs."""
        ...

    def stop(self) -> None:
        """Asks it to save and to end."""
        ...

    def kill(self) -> None: ...


@runtime_checkable
class Starts(Protocol):
    """An engine whose runs are watched by the command."""

    def check(self, works: Sequence[Work]) -> None:
        """Raises InputError for what cannot work, before anything is started."""
        ...

    def shown(self, works: Sequence[Work]) -> list[str]:
        """What would be started, for a dry run."""
        ...

    def start(self, work: Work) -> Task:
        """Starts a run. Raises OSError if that fails."""
        ...

    def close(self) -> None:
        """Called when no run is active any more."""
        ...


@runtime_checkable
class Submits(Protocol):
    """An engine with a queue of its own."""

    def check(self, works: Sequence[Work]) -> None: ...

    def shown(self, works: Sequence[Work]) -> list[str]: ...

    def submit(self, works: Sequence[Work], tell: Callable[[str], None]) -> None:
        """Submits the runs, each after those that it needs, but for those in the queue."""
        ...


def names() -> list[str]:
    """The engines' names."""
    return [f.name for f in pkgutil.iter_modules(__path__) if f.name not in PARTS]


def load(name: str, settings: Settings) -> Starts | Submits:
    """The engine of this name. Raises InputError if there is none, or a setting is not for it."""
    if name not in names():
        raise unknown("engine", name, names())
    return importlib.import_module(f"kd.engines.{name}").Engine(settings)


def states(name: str) -> Mapping[str, str]:
    """By the number of a job, what its queue says of it, where the engine has a queue."""
    if name not in names():
        return {}
    module = importlib.import_module(f"kd.engines.{name}")
    return module.states() if hasattr(module, "states") else {}
