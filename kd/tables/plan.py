"""What must be run for a table, and in which order. Imports no jax.

These are the runs of its cells and, before them, the runs that they need.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import kd.config
from kd.config import ConfigDict, identity
from kd.config.teachers import complete_groups, groups_of
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.tables.metric_call import parse
from kd.tables.table import Cell, Experiment


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that cells or other runs need.

    Attributes:
      reference: its config, `FILE.py:arguments`.
      config: content of the config.
      workdir: its run directory, which may not exist yet.
      needs: references of the runs that must be finished before it.
      identity: hash of what its config file and those of the runs that it is trained from set to
        other values than the defaults. A new default does not change it.
      teachers: run directories of its teachers, by their index in the teacher's groups.
      init: run directory that its initial variables come from.
      cells: that show it; none if it is only a teacher.
    """

    reference: str
    config: ConfigDict
    workdir: Workdir
    needs: tuple[str, ...]
    identity: str
    teachers: Mapping[int, Workdir] = dataclasses.field(default_factory=dict)
    init: Workdir | None = None
    cells: tuple[Cell, ...] = ()


def make(experiment: Experiment, root: os.PathLike | str) -> dict[str, Run]:
    """The runs of an experiment by reference, each after those that it needs.

    Two references of the same run, such as with a default argument written out and left out, are
    both keys of one run.

    Raises:
      InputError: a config cannot be read; a run directory belongs to another config; a metric needs
        something that the config does not store; or a run on held-out images has a paper's number.
    """
    runs: dict[str, Run] = {}
    needs: dict[str, Sequence[str]] = {}  # keys of a config that a metric needs
    for cell in experiment.cells():
        try:
            _add(cell.reference, root, runs, ())
            if cell.metric not in needs:
                needs[cell.metric] = parse(cell.metric).needs
            _check_cell(cell, runs[cell.reference].config, needs[cell.metric])
        except InputError as error:
            raise InputError(f"row {cell.row!r}: {error}") from error
    return _merge(runs, experiment.cells())


def order_of(run: Run, plan: Mapping[str, Run]) -> list[Run]:
    """The run after all runs that it needs, each once."""
    order: dict[str, Run] = {}
    for need in run.needs:
        order |= {r.reference: r for r in order_of(plan[need], plan)}
    return [*order.values(), plan[run.reference]]


def _check_cell(cell: Cell, config: ConfigDict, needs: Sequence[str]) -> None:
    """Raises InputError if the cell cannot be computed from a run of this config."""
    if cell.paper and config.holdout:
        raise InputError(
            f"the paper's number {cell.paper.value:zg} is from its test set, and {cell.reference} "
            "is evaluated on held-out training images (config.holdout). Leave out one of them."
        )
    for key in needs:
        if not config[key]:
            raise InputError(
                f"{cell.metric} needs a run with config.{key}: set config.{key} in "
                f"{cell.reference}."
            )


def _add(
    reference: str, root: os.PathLike | str, runs: dict[str, Run], above: tuple[str, ...]
) -> None:
    """Adds a run after the runs that it needs.

    Args:
      reference: of the run.
      root: directory of all runs.
      runs: to add it to.
      above: references of the runs that need it.

    Raises:
      InputError: see `make`; or the run needs itself.
    """
    if reference in runs:
        return
    if reference in above:
        raise InputError(f"{reference} would be its own teacher, or start from itself.")
    config = kd.config.load(reference)
    # A run whose directory the config names is left to `kd run`.
    groups = enumerate(groups_of(config.teacher))
    teachers = {i: group.config for i, group in groups if group.config and not group.run}
    init = "" if config.init.run else config.init.config
    sources = [*teachers.values(), *([init] if init else [])]
    needs = tuple(dict.fromkeys([*sources, *config.compare.values()]))
    for need in needs:
        _add(need, root, runs, (*above, reference))
    teacher_identities = [runs[teacher].identity for teacher in teachers.values()]
    chain = [_changed_settings(config), *(teacher_identities or [""])]
    chain += [runs[init].identity] if init else []
    digest = hashlib.sha256(json.dumps(chain, sort_keys=True).encode())
    workdir = Workdir(kd.config.default_workdir(reference, root))
    _check_owner(workdir, config)
    runs[reference] = Run(
        reference,
        config,
        workdir,
        needs,
        digest.hexdigest()[:12],
        {index: runs[teacher].workdir for index, teacher in teachers.items()},
        runs[init].workdir if init else None,
    )


def _changed_settings(config: ConfigDict) -> dict[str, Any]:
    """What a config sets to another value than the default, by dotted key."""
    defaults, settings = _defaults(), _flat(config)
    return {k: v for k, v in settings.items() if k not in defaults or defaults[k] != v}


@functools.cache
def _defaults() -> Mapping[str, Any]:
    """The default of each setting, by dotted key."""
    return _flat(kd.config.default())


def _flat(config: ConfigDict) -> dict[str, Any]:
    """The part of a config that identifies a run, by dotted key."""
    return dict(kd.config.leaves(identity.identity(config.to_dict())))


def _merge(runs: Mapping[str, Run], cells: Iterable[Cell]) -> dict[str, Run]:
    """The same runs, one for each identity, by the reference under which other runs look for it.

    If other runs look for it under two references, `kd run` uses two directories. The second one is
    then planned, too, as a run without cells.
    """
    needed = {need for run in runs.values() for need in run.needs}
    by_identity: dict[str, Run] = {}
    for run in sorted(runs.values(), key=lambda run: run.reference not in needed):
        by_identity.setdefault(run.identity, run)
    references = {run.reference for run in by_identity.values()}
    cells_of: dict[str, list[Cell]] = {}
    for cell in cells:
        cells_of.setdefault(runs[cell.reference].identity, []).append(cell)
    merged = {
        key: dataclasses.replace(run, cells=tuple(cells_of.get(key, ())))
        for key, run in by_identity.items()
    }
    return {
        reference: run if reference in needed - references else merged[run.identity]
        for reference, run in runs.items()
    }


def _check_owner(workdir: Workdir, config: ConfigDict) -> None:
    """Raises InputError if the directory holds a run of another config; names one difference."""
    if not (workdir.path / "config.json").exists():
        return
    expected = ConfigDict(config.to_dict())
    expected.teacher = complete_groups(config.teacher)  # lists, which `_flat` keeps
    ours, defaults = _flat(expected), _defaults()
    stored = dict(kd.config.leaves(identity.identity(workdir.read("config.json"))))
    # A stored config includes the default settings of the objects that it names. An object that
    # ours does not name is a difference.
    extra = [
        key for key in stored if key not in ours and f"{key.rpartition('.')[0]}.name" not in ours
    ]
    for key in [*ours, *extra]:
        value = ours.get(key, "absent")
        stored_value = stored.get(key, defaults.get(key, "absent"))
        if value != stored_value:
            raise InputError(
                f"{workdir} belongs to another config: {key} is {stored_value!r} there and "
                f"{value!r} here. Remove it, or give other --runs."
            )
