"""A run from top to bottom: check, train what it builds on, set up, train, evaluate, write.

run_all    this run and those that its closing table compares it with
run        one run
  check        refuses what does not fit, before anything is trained
  finished     trains a teacher or the warm start first, if it is missing
  make_parts   data, student, objective, teacher, optimizer, augmentation
  set_up       arrays on the devices, compiled steps
  train_run    the loop: dispatches, evaluations, checkpoints
  write        predictions.npz, exported files, result.json
"""

import os
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType

import jax

from kd import build, signals
from kd import config as configs
from kd.config import ConfigDict
from kd.data import remarks
from kd.devices import processes
from kd.errors import InputError
from kd.files import writing
from kd.runs import lineage
from kd.runs.networks import weights_hash, workdir_of, workdirs_of_teachers
from kd.runs.summary import Runs
from kd.runs.workdir import InUse, Workdir
from kd.train import cache, convolving, result
from kd.train.checks import dry_run
from kd.train.members import check_teachers
from kd.train.places import Place, places
from kd.train.rehearsal import rehearse
from kd.train.session import train_run
from kd.train.setup import Setup, prepare
from kd.train.sources import Source, Sources, require, sources_of

POLL_SECONDS = 0.2
"""How often a process that waits looks whether it is to stop."""


def run_all(
    config: ConfigDict,
    workdir: Workdir,
    root: os.PathLike | str,
    wait: bool = True,
    command: str = "",
) -> Runs:
    """Trains this run, the runs that it builds on and those of `config.compare`, where missing.

    Arguments and errors are those of `run`; `command` is what makes this run again, for its
    results.
    """
    compared = {
        label: (build.load_config(reference), Workdir(configs.default_workdir(reference, root)))
        for label, reference in config.compare.items()
    }
    shown = places(config, workdir, compared, root, command)
    run(config, workdir, root, wait=wait, shown=shown)
    for other, directory in compared.values():
        run(other, directory, root, wait=wait, shown=shown)
    return Runs(
        workdir,
        workdirs_of_teachers(config, root),
        workdir_of(config.init, root),
        {label: directory for label, (_, directory) in compared.items()},
    )


def run(
    config: ConfigDict,
    workdir: Workdir,
    root: os.PathLike | str = "runs",
    waiting: tuple[str, ...] = (),
    wait: bool = True,
    shown: Mapping[str, Place] = MappingProxyType({}),
) -> Workdir:
    """Trains what a config describes, after the runs that it builds on.

    A finished run is left as it is, an interrupted one is resumed.

    Args:
      config: spelled out, see `kd.build.spell_out`.
      workdir: directory of the run.
      root: directory of the runs whose config names no directory.
      waiting: directories of the runs that wait for this one, to refuse circles.
      wait: whether a run that another process trains is waited for.
      shown: the place of each run of the command, by its directory.

    Raises:
      InputError: the run cannot start; nothing has been written.
      InUse: another process trains it, or a run that it builds on, and is not waited for.
      RunError: a loss is not finite.
      kd.signals.Stopped: the run was asked to stop; the state is saved.
    """
    signals.poll()
    if str(workdir) in waiting:
        raise InputError(f"{workdir} would be its own teacher, or start from itself.")
    config = _use_all_processes(config)
    workdir.check_owner(config.to_dict(), build.as_today)
    sources = sources_of(config, root)
    waiting = (*waiting, str(workdir))
    if workdir.finished:
        _check_sources(workdir, sources, root, waiting)
        return workdir
    _check(config, sources, root)
    teachers = [finished(source, root, waiting, wait, shown) for source in sources.teachers]
    start = finished(sources.start, root, waiting, wait, shown) if sources.start else None
    with _held(workdir, wait):
        workdir.check_owner(config.to_dict(), build.as_today)
        trains = not workdir.finished  # another process may have finished it meanwhile
        if trains:
            setup = prepare(config, *teachers, start=start)
            _train(setup, workdir, shown.get(str(workdir), Place()))
    if not trains:
        _check_sources(workdir, sources, root, waiting)
    return workdir


@contextmanager
def _held(workdir: Workdir, wait: bool) -> Generator[None]:
    """Context in which the run directory is locked, by one process for all that train together."""
    with ExitStack() as stack:
        # If the lock is refused to one process it is refused to all: none waits for another.
        processes.write(lambda: _lock(workdir, wait, stack))
        yield


def _lock(workdir: Workdir, wait: bool, stack: ExitStack) -> None:
    """Locks a run directory until the stack ends; says once that it waits for another process."""
    is_waiting = False
    while True:
        try:
            stack.enter_context(workdir.lock())
            return
        except InUse as error:
            if not wait:
                raise
            again, text = error.again, str(error).partition(". Wait")[0]
        if not is_waiting:
            print(f"{text}: waiting", file=sys.stderr, flush=True)
            is_waiting = True
        for _ in range(round(again / POLL_SECONDS)):
            signals.poll(f"stopped while waiting for {workdir}")
            time.sleep(POLL_SECONDS)


def finished(
    source: Source,
    root: os.PathLike | str,
    waiting: tuple[str, ...] = (),
    wait: bool = True,
    shown: Mapping[str, Place] = MappingProxyType({}),
) -> Workdir:
    """The run directory of a source, trained or evaluated first if it is not finished."""
    if source.config:
        return run(build.load_config(source.config), source.workdir, root, waiting, wait, shown)
    if not source.workdir.finished:
        from kd.train import imported

        imported.evaluate(source.workdir)  # imported before its data were prepared
    return source.workdir


def _check(config: ConfigDict, sources: Sources, root: os.PathLike | str) -> None:
    """Raises InputError for what does not fit, before a teacher is trained."""
    cache.check(config)
    convolving.check(config)
    dry_run(config)
    check_teachers(config, root)
    needed = (*sources.teachers, *([sources.start] if sources.start else []))
    for source in needed:
        require(source)
    if not all(source.workdir.finished for source in needed):
        rehearse(config, root)


def _check_sources(
    workdir: Workdir, sources: Sources, root: os.PathLike | str, waiting: tuple[str, ...]
) -> None:
    """Raises InputError if a finished run's teacher or warm start has changed since."""
    for source in sources.teachers:
        require(source)
    teachers = [finished(source, root, waiting) for source in sources.teachers]
    start = sources.start.workdir if sources.start else None
    lineage.check(workdir, dict(enumerate(teachers)), start)


def _tell_of_data(setup: Setup, workdir: Workdir) -> None:
    """Prints the size of the run's data, and whether images that are held out are also in train."""
    if not processes.is_writer():
        return
    dataset, split = setup.parts.dataset, setup.split
    lines = [remarks.summary(dataset, split)]
    if split == "validation" and (leak := remarks.leaked(dataset, split)):
        lines.append(leak)
    for line in lines:
        print(f"{workdir.path.name}: {line}", file=sys.stderr, flush=True)


def _train(setup: Setup, workdir: Workdir, place: Place) -> None:
    """Trains in a locked run directory, evaluates, and writes the results."""
    _tell_of_data(setup, workdir)
    origin = result.origin(setup)
    processes.write(lambda: writing.remove_parts(workdir.path))
    processes.write(lambda: workdir.claim(setup.config.to_dict(), origin))
    state, figures = train_run(setup, workdir, place.text)
    signals.poll()
    arrays = result.predictions(setup, state)
    content = result.describe(setup, arrays["logits"], arrays.get("teacher_logits"))
    content["weights"] = weights_hash(state.student)
    content["command"] = place.command or None
    processes.write(lambda: result.write(setup, workdir, state, arrays, content, figures))


def _use_all_processes(config: ConfigDict) -> ConfigDict:
    """With several processes, a config for one device becomes data-parallel on all of them."""
    devices = config.devices
    if jax.process_count() > 1 and devices.teacher * devices.data * devices.seeds == 1:
        config = ConfigDict(config.to_dict()).lock()
        config.devices.data = jax.device_count()
    return config
