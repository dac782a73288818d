"""The teacher of a run, made from finished runs: its members chosen, checked, placed on the
devices, or asked once.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kd.build import make_data, make_model
from kd.config import ConfigDict
from kd.config.teachers import Group, groups_of, known_size, shares
from kd.data.base import Dataset
from kd.devices import mesh as sharding
from kd.devices import precision
from kd.devices.vectorize import fastest_method, map_stacked, tree_index
from kd.errors import InputError
from kd.runs.lineage import WEIGHTS, weights_of
from kd.runs.networks import check_fit, fingerprint, load_trained, workdirs_of_teachers
from kd.runs.workdir import Workdir
from kd.step import make_eval
from kd.teachers import ensemble
from kd.train import cache, placement
from kd.types import PyTree, Teacher


class Members(NamedTuple):
    """Members of one architecture, to evaluate them."""

    model: nn.Module
    variables: PyTree  # [m, ...]
    how: str  # over the members
    spread: Callable | None = None  # them over devices, see `kd.devices.mesh.shard_members`


class Taught(NamedTuple):
    """A teacher for the step, its weights, and what a run records of it."""

    teacher: Teacher
    weights: PyTree
    groups: tuple[Members, ...] = ()  # of each run
    shares: tuple[float, ...] = ()  # what each member counts, over all groups
    paired: bool = False  # whether student i learns from member i alone
    apiece: bool = False  # whether each student has weights, or answers, of its own
    each: tuple[Sequence[float] | None, ...] = ()  # see `kd.build.make_objective`
    origin: dict[str, Any] | None = None
    own: Callable[[PyTree], PyTree] | None = None  # variables in its state

    @property
    def spread(self) -> bool:
        """Whether members are spread over the devices."""
        return any(group.spread for group in self.groups)


def make_teacher(
    config: ConfigDict, workdirs: Sequence[Workdir], dataset: Dataset, mesh: Mesh
) -> Taught:
    """The teacher of a run, from the finished runs in `workdirs`, one for each group; without any
    the student's own mean, or none.

    Raises:
      InputError: members that do not exist or do not divide among devices, pairs that do not match
        the seeds, other classes, inputs or normalisation than the data's, weights that do not fit.
    """
    section, place = config.teacher, sharding.replicated(mesh)
    if section.name == "ema":
        student = make_model(config.student.to_dict(), dataset.num_classes)
        network = precision.network(student, config.precision)
        mean = ensemble.ema(network, section.decay)
        return Taught(mean, (), own=lambda state: state["mean"])
    if not workdirs:
        return Taught(ensemble.none(), ())
    named = groups_of(section)
    found = []
    for group, there in zip(named, workdirs, strict=True):
        check_fit(there.read("result.json"), dataset, f"the teacher in {there}")
        found.append(load_trained(there, place, group))
    sizes = [len(trained.members) for trained in found]
    _check_sizes(config, workdirs[0], sizes)
    counts = shares(named, sizes)
    apart, spread = _places(config, named, sizes, mesh)
    groups, records = [], []
    for trained, there in zip(found, workdirs, strict=True):
        stacked = trained.variables
        records.append(
            {
                "run": str(there),
                "members": trained.members,
                "weights": fingerprint(stacked),
                WEIGHTS: weights_of(there),
            }
        )
        how = _how(section.how, trained.model, stacked, dataset)
        stacked = sharding.to_devices(stacked, apart)
        groups.append(Members(trained.model, stacked, how, spread))
    networks = [precision.network(group.model, config.precision) for group in groups]
    singles = [ensemble.frozen(network) for network in networks]
    weights = [group.variables for group in groups]
    apiece = cache.per_seed(config)
    if section.cache:
        weights = _answers(config, groups, records, dataset, place)
        singles = [ensemble.cached(dataset.num_classes) for _ in groups]
        if apiece and section.members == "paired":
            weights = [_one_each(config, weights[0])]
        elif apiece:
            apart = NamedSharding(mesh, P(None, *apart.spec))
        weights = sharding.to_devices(weights, apart)
    origin = _origin(records, counts)
    taught = Taught(
        singles[0],
        weights[0],
        tuple(groups),
        tuple(counts),
        apiece=apiece or section.members == "paired",
        origin=origin,
    )
    if section.members == "paired":
        return taught._replace(paired=True)
    if sum(sizes) == 1:
        first = (slice(None), 0) if apiece else 0
        return taught._replace(weights=tree_index(weights[0], first))
    made = [
        ensemble.Group(single, group.how, spread)
        for single, group in zip(singles, groups, strict=True)
    ]
    each = _by_group(counts, sizes) if section.reduce == "each" else ()
    if len(made) == 1:
        teacher = ensemble.ensemble(*made[0][:1], section.reduce, *made[0][1:], counts)
        return taught._replace(teacher=teacher, each=each)
    teacher = ensemble.grouped(made, section.reduce, counts)
    return taught._replace(teacher=teacher, each=each, weights=tuple(weights))


def _check_sizes(config: ConfigDict, there: Workdir, sizes: Sequence[int]) -> None:
    """Raises InputError where students are paired with members and are not as many, or the members
    to choose among are one.
    """
    paired = config.teacher.members == "paired"
    if paired and sizes[0] != config.seeds:
        raise InputError(
            f"config.teacher.members = 'paired' needs as many teachers as seeds: {there} has "
            f"{sizes[0]}, config.seeds is {config.seeds}."
        )
    if config.teacher.reduce == "confidence" and (paired or sum(sizes) == 1):
        raise InputError(
            "config.teacher.reduce = 'confidence' weighs several members against one another, and "
            f"of {there} each student learns from one. Name more, or leave reduce out."
        )


def _places(
    config: ConfigDict, named: Sequence[Group], sizes: Sequence[int], mesh: Mesh
) -> tuple[NamedSharding, Callable | None]:
    """Where the members of every group lie, and what spreads their work; None where each device
    runs all that it needs.
    """
    teacher = mesh.shape["teacher"]
    if config.teacher.members == "paired" or sum(sizes) == 1:
        if teacher > 1:
            raise InputError(
                f"config.devices.teacher = {teacher}: each student here has one teacher, which is "
                "not divided. Use config.devices.data."
            )
        return sharding.replicated(mesh), None
    for group, size in zip(named, sizes, strict=True):
        sharding.member_sharding(mesh, size, group.where)  # refuses
    apart = sharding.member_sharding(mesh, teacher)
    # One member that is drawn is run by all devices; where members have devices of their own, all
    # are run and one is taken.
    alone = config.teacher.reduce == "random" and teacher == 1
    spread = sharding.shard_members(mesh) if placement.spreads(config) and not alone else None
    return apart, spread


def _how(how: str, model: nn.Module, stacked: PyTree, dataset: Dataset) -> str:
    """The way over members: as the config says, or the fastest here."""
    if how != "auto":
        return how
    image = jnp.zeros((1, *dataset.train.image.shape[1:]), jnp.float32)
    forward = lambda v, x: model.apply(v, x, train=False)
    return fastest_method(forward, tree_index(stacked, 0), image)


def _by_group(counts: Sequence[float], sizes: Sequence[int]) -> tuple[Sequence[float] | None, ...]:
    """What the members count, by group; None where all are one group and count the same."""
    if len(sizes) == 1 and len(set(counts)) == 1:
        return (None,)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(tuple(counts[end - size : end]) for end, size in zip(ends, sizes, strict=True))


def _origin(records: Sequence[dict[str, Any]], counts: Sequence[float]) -> dict[str, Any]:
    """What `result.json` has of the teacher, see `kd.config.teachers.recorded`; shares are left out
    where all members count the same.
    """
    if len(set(counts)) > 1:
        sizes = [len(record["members"]) for record in records]
        by_group = _by_group(counts, sizes)
        records = [{**r, "shares": list(c or ())} for r, c in zip(records, by_group, strict=True)]
    return records[0] if len(records) == 1 else {"groups": list(records)}


def _answers(
    config: ConfigDict,
    groups: Sequence[Members],
    records: Sequence[Mapping[str, Any]],
    dataset: Dataset,
    place: NamedSharding,
) -> list[PyTree]:
    """What the members of each group said about the training images, see `kd.train.cache`: arrays
    [m, ...], or [s, m, ...].
    """
    found = []
    data = fingerprint(dataset.train)
    for group, record, name in zip(groups, records, cache.names(len(groups)), strict=True):
        evaluate = precision.evaluation(make_eval(group.model), config.precision)
        logits = lambda v, _, batch, evaluate=evaluate: evaluate(v, batch).logits
        each = map_stacked(logits, group.how, (0, None, None))
        each = group.spread(each) if group.spread else each
        ask = cache.make_ask(each, group.variables, config, dataset, place)
        made = cache.facts(config, record["weights"], data)
        run = Workdir(record["run"]).path
        found.append(cache.answers(ask, config, made, run, name))
    return found


def _one_each(config: ConfigDict, stored: PyTree) -> PyTree:
    """Of answers [s, m, ...] those of member i to student i alone, where students are paired with
    members.
    """
    own = np.arange(config.seeds)
    return jax.tree.map(lambda x: x[own, own], stored)


def check_teachers(config: ConfigDict, root: os.PathLike | str) -> None:
    """Raises InputError for what `make_teacher` would refuse, as far as it is known while teachers
    are missing.
    """
    named, found = groups_of(config.teacher), workdirs_of_teachers(config, root)
    if all(there.finished for there in found):
        return
    dataset, sizes = make_data(config), []
    for group, there in zip(named, found, strict=True):
        size = known_size(group)
        if there.finished:
            result = there.read("result.json")
            check_fit(result, dataset, f"the teacher in {there}")
            networks = len(result["seeds"]) * len(result.get("peers", [1]))
            size = len(group.indices(networks, there))
        sizes.append(size)
    if None not in sizes:
        _check_sizes(config, found[0], sizes)
        shares(named, sizes)
        _places(config, named, sizes, placement.make_mesh(config))
