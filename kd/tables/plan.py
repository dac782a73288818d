"""What must be run for a table, and in which order: the cells' runs and, before them, those that
they build on. Imports no jax.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from kd import config as configs
from kd.config import ConfigDict, identity
from kd.config.teachers import complete_groups, groups_of
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.tables import derived
from kd.tables.table import Cell, Experiment


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that cells or other runs need.

    `identity` is a hash of what its config files and those of the runs that it builds on say: what
    differs from the defaults, so that it stays when a default is added.
    """

    reference: str
    config: ConfigDict
    workdir: Workdir
    needs: tuple[str, ...]  # references of the runs that must be there before it
    identity: str
    # its teachers' runs, by their place among its groups
    taught: Mapping[int, Workdir] = dataclasses.field(default_factory=dict)
    first: Workdir | None = None  # the run that it starts from
    cells: tuple[Cell, ...] = ()  # that show it; none where it is a teacher alone


def make(experiment: Experiment, root: os.PathLike | str) -> dict[str, Run]:
    """The runs of an experiment by reference, each after those that it needs.

    Runs that are the same under two names, such as an argument at its default and the same one left
    out, are one: both names are keys of it.

    Raises:
      InputError: a config that cannot be read, with its row; a run directory of another config; a
        metric that needs validation predictions of a config that keeps none; a paper's number for
        one that is not evaluated on the test set.
    """
    runs: dict[str, Run] = {}
    for cell in experiment.cells():
        try:
            _add(cell.reference, root, runs, ())
            metric, config = derived.parse(cell.metric), runs[cell.reference].config
            if cell.paper and config.holdout:
                raise InputError(
                    f"the paper's number {cell.paper.value:g} is of its test set, and "
                    f"{cell.reference} is evaluated on held-out training images (config.holdout). "
                    "Leave out one of them."
                )
            if metric.needs_validation and not config.validation:
                raise InputError(
                    f"{cell.metric} is chosen on validation, and {cell.reference} keeps none: set "
                    "config.validation."
                )
            if metric.needs_export and not config.export:
                raise InputError(
                    f"{cell.metric} is of exported files, and {cell.reference} makes none: set "
                    "config.export."
                )
        except InputError as error:
            raise InputError(f"row {cell.row!r}: {error}") from error
    return _merged(runs, experiment.cells())


def _add(
    reference: str, root: os.PathLike | str, runs: dict[str, Run], above: tuple[str, ...]
) -> None:
    if reference in runs:
        return
    if reference in above:
        raise InputError(f"{reference} would be its own teacher, or start from itself.")
    config = configs.load(reference)
    # A run in a directory of its own choice is left to `kd run`.
    groups = enumerate(groups_of(config.teacher))
    taught = {i: g.config for i, g in groups if g.config and not g.run}
    first = "" if config.init.run else config.init.config
    below = [*taught.values(), *([first] if first else [])]
    needs = tuple(dict.fromkeys([*below, *config.compare.values()]))
    for need in needs:
        _add(need, root, runs, (*above, reference))
    said = _said(config)
    of_teachers = [runs[teacher].identity for teacher in taught.values()]
    chain = [said, *(of_teachers or [""])]
    chain += [runs[first].identity] if first else []
    digest = hashlib.sha256(json.dumps(chain, sort_keys=True).encode())
    workdir = Workdir(configs.default_workdir(reference, root))
    _check_owner(workdir, config)
    runs[reference] = Run(
        reference,
        config,
        workdir,
        needs,
        digest.hexdigest()[:12],
        {place: runs[teacher].workdir for place, teacher in taught.items()},
        runs[first].workdir if first else None,
    )


def _said(config: ConfigDict) -> dict[str, Any]:
    """What of a config's identity is not as by default, by dotted key."""
    usual, own = _flat(configs.default()), _flat(config)
    return {k: v for k, v in own.items() if k not in usual or usual[k] != v}


def _flat(config: ConfigDict) -> dict[str, Any]:
    """The identity of a config by dotted key."""
    return dict(configs.leaves(identity.identity(config.to_dict())))


def _merged(runs: Mapping[str, Run], cells: Iterable[Cell]) -> dict[str, Run]:
    """The same runs, one for each identity: that under the name by which other runs look for it.

    Where they look for it under two names, `kd run` keeps two directories, and the second is
    planned, too, as a run of no cell.
    """
    needed = {need for run in runs.values() for need in run.needs}
    chosen: dict[str, Run] = {}
    for run in sorted(runs.values(), key=lambda run: run.reference not in needed):
        chosen.setdefault(run.identity, run)
    names = {run.reference for run in chosen.values()}
    of: dict[str, list[Cell]] = {}
    for cell in cells:
        of.setdefault(runs[cell.reference].identity, []).append(cell)
    full = {
        identity: dataclasses.replace(run, cells=tuple(of.get(identity, ())))
        for identity, run in chosen.items()
    }
    return {
        reference: run if reference in needed - names else full[run.identity]
        for reference, run in runs.items()
    }


def _check_owner(workdir: Workdir, config: ConfigDict) -> None:
    """Raises InputError where the directory holds a run of another config, by its first
    difference.
    """
    if not (workdir.path / "config.json").exists():
        return
    whole = ConfigDict(config.to_dict())
    whole.teacher = complete_groups(config.teacher)  # groups are lists, of which keys tell nothing
    ours, usual = _flat(whole), _flat(configs.default())
    theirs = dict(configs.leaves(identity.identity(workdir.read("config.json"))))
    # A run's config spells out the settings of the things that it names; a thing that is not in
    # ours is a difference.
    extra = [
        key for key in theirs if key not in ours and f"{key.rpartition('.')[0]}.name" not in ours
    ]
    for key in [*ours, *extra]:
        here, there = ours.get(key, "absent"), theirs.get(key, usual.get(key, "absent"))
        if here != there:
            raise InputError(
                f"{workdir} belongs to another config: {key} is {there!r} there and {here!r} here. "
                "Remove it, or give other --runs."
            )


def steps(run: Run, plan: Mapping[str, Run]) -> list[Run]:
    """The run after all that it needs, each once."""
    order: dict[str, Run] = {}
    for need in run.needs:
        order |= {r.reference: r for r in steps(plan[need], plan)}
    return [*order.values(), plan[run.reference]]
