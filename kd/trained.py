"""Finished runs as teachers: their networks read back, chosen, and checked against the data of the new run."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding

from kd import config as configs
from kd import precision, sharding, tactic
from kd import teacher as teachers
from kd.checkpoint import load_student
from kd.config import ConfigDict
from kd.data.augment import make_normalize
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.groups import Group, groups_of, known_size, shares
from kd.parts import make_data, make_model
from kd.program import make_logits
from kd.step import make_eval
from kd.transform import fastest, pick
from kd.types import PyTree, Teacher
from kd.workdir import Workdir


class Trained(NamedTuple):
    """The networks of a finished run: one architecture, variables stacked over its seeds [s, ...]."""

    model: nn.Module
    variables: PyTree
    result: dict[str, Any]


def load_trained(workdir: Workdir, place: Sharding | None = None) -> Trained:
    """Networks of a finished run. Raises InputError where it is not finished or not a run."""
    config = workdir.read("config.json")
    result = workdir.read("result.json")
    model = make_model(config["student"], result["num_classes"])
    place = place or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    image = jax.ShapeDtypeStruct((1, *result["shape"]), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), image)
    stacked = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            (len(result["seeds"]), *x.shape), x.dtype, sharding=place
        ),
        shapes,
    )
    return Trained(model, load_student(workdir.checkpoints, stacked), result)


class Members(NamedTuple):
    """Members of one architecture, to evaluate them."""

    model: nn.Module
    variables: PyTree  # [m, ...]
    how: str  # over the members
    spread: Callable | None = None  # them over devices, see `kd.sharding.spread`


class Taught(NamedTuple):
    """A teacher for the step, its weights, and what a run records of it."""

    teacher: Teacher
    weights: PyTree
    groups: tuple[Members, ...] = ()  # of each run
    shares: tuple[float, ...] = ()  # what each member counts, over all groups
    paired: bool = False  # whether student i learns from member i alone
    each: tuple[Sequence[float] | None, ...] = ()  # see `kd.parts.make_objective`
    origin: dict[str, Any] | None = None

    @property
    def spread(self) -> bool:
        """Whether members are spread over the devices."""
        return any(group.spread for group in self.groups)


def make_teacher(
    config: ConfigDict, workdirs: Sequence[Workdir], dataset: Dataset, mesh: Mesh
) -> Taught:
    """The teacher of a run, from the finished runs in `workdirs`, one for each group; none where there are none.

    Raises:
      InputError: members that do not exist or do not divide among devices, pairs that do not match the seeds, other classes,
        inputs or normalisation than the data's, weights that do not fit.
    """
    if not workdirs:
        return Taught(teachers.none(), ())
    section, place = config.teacher, sharding.everywhere(mesh)
    named = groups_of(section)
    found = []
    for group, there in zip(named, workdirs, strict=True):
        check_fit(there.read("result.json"), dataset, f"the teacher in {there}")
        trained = load_trained(there, place)
        indices = group.indices(len(trained.result["seeds"]), there)
        found.append((trained, indices))
    sizes = [len(indices) for _, indices in found]
    if section.members == "paired" and sizes[0] != config.seeds:
        raise InputError(
            f"config.teacher.members = 'paired' needs as many teachers as seeds: {workdirs[0]} has {sizes[0]}, "
            f"config.seeds is {config.seeds}."
        )
    counts = shares(named, sizes)
    apart, spread = _places(config, named, sizes, mesh)
    groups, records, singles, weights = [], [], [], []
    for (trained, indices), there in zip(found, workdirs, strict=True):
        stacked = pick(trained.variables, np.asarray(indices))
        records.append({"run": str(there), "members": indices, "weights": fingerprint(stacked)})  # fmt: skip
        how = _how(section.how, trained.model, stacked, dataset)
        stacked = sharding.put(stacked, apart)
        group = Members(trained.model, stacked, how, spread)
        groups.append(group)
        if section.cache:
            singles.append(teachers.cached())
            cached = _cached(config, group, dataset, place)
            weights.append(sharding.put(cached, apart))
        else:
            network = precision.network(group.model, config.precision)
            singles.append(teachers.frozen(network))
            weights.append(stacked)
    origin = _origin(records, counts)
    taught = Taught(singles[0], weights[0], tuple(groups), tuple(counts), origin=origin)
    if section.members == "paired":
        return taught._replace(paired=True)
    if sum(sizes) == 1:
        return taught._replace(weights=pick(weights[0], 0))
    made = [
        teachers.Group(single, group.how, spread)
        for single, group in zip(singles, groups, strict=True)
    ]
    each = _by_group(counts, sizes) if section.reduce == "each" else ()
    if len(made) == 1:
        teacher = teachers.ensemble(*made[0][:1], section.reduce, *made[0][1:], counts)
        return taught._replace(teacher=teacher, each=each)
    teacher = teachers.grouped(made, section.reduce, counts)
    return taught._replace(teacher=teacher, each=each, weights=tuple(weights))


def _places(
    config: ConfigDict, named: Sequence[Group], sizes: Sequence[int], mesh: Mesh
) -> tuple[NamedSharding, Callable | None]:
    """Where the members of every group lie, and what spreads their work; None where each device runs all that it needs."""
    teacher = mesh.shape["teacher"]
    if config.teacher.members == "paired" or sum(sizes) == 1:
        if teacher > 1:
            raise InputError(
                f"config.devices.teacher = {teacher}: each student here has one teacher, which is not divided. "
                "Use config.devices.data."
            )
        return sharding.everywhere(mesh), None
    for group, size in zip(named, sizes, strict=True):
        sharding.members(mesh, size, group.where)  # refuses
    apart = sharding.members(mesh, teacher)
    # One member that is drawn is run by all devices; where members have devices of their own, all are run and one is taken.
    alone = config.teacher.reduce == "random" and teacher == 1
    spread = sharding.spread(mesh) if tactic.spreads(config) and not alone else None
    return apart, spread


def _how(how: str, model: nn.Module, stacked: PyTree, dataset: Dataset) -> str:
    """The way over members: as the config says, or the fastest here."""
    if how != "auto":
        return how
    image = jnp.zeros((1, *dataset.train.image.shape[1:]), jnp.float32)
    forward = lambda v, x: model.apply(v, x, train=False)
    return fastest(forward, pick(stacked, 0), image)


def _by_group(
    counts: Sequence[float], sizes: Sequence[int]
) -> tuple[Sequence[float] | None, ...]:
    """What the members count, by group; None where all are one group and count the same."""
    if len(sizes) == 1 and len(set(counts)) == 1:
        return (None,)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(
        tuple(counts[end - size : end]) for end, size in zip(ends, sizes, strict=True)
    )


def _origin(
    records: Sequence[dict[str, Any]], counts: Sequence[float]
) -> dict[str, Any]:
    """What `result.json` has of the teacher, see `kd.groups.recorded`; shares are left out where all members count the same."""
    if len(set(counts)) > 1:
        sizes = [len(record["members"]) for record in records]
        by_group = _by_group(counts, sizes)
        records = [{**r, "shares": list(c or ())} for r, c in zip(records, by_group, strict=True)]  # fmt: skip
    return records[0] if len(records) == 1 else {"groups": list(records)}


def _cached(
    config: ConfigDict, group: Members, dataset: Dataset, place: NamedSharding
) -> np.ndarray:
    """The members' logits on the training images, [m, n, c]. Raises InputError where they would have to be asked each epoch."""
    if augment := config.augment or config.second_view:
        raise InputError(
            f"config.teacher.cache: with augment = {augment!r} no two epochs show the teacher the same images. "
            "Leave one of the two out."
        )
    if isinstance(dataset.train.image, Pictures):
        raise InputError(
            "config.teacher.cache: pictures that are decoded as they are needed are cropped anew in each epoch. Leave it out."
        )
    evaluate = make_eval(group.model, make_normalize(dataset.mean, dataset.std))
    evaluate = precision.evaluation(evaluate, config.precision)
    images = sharding.put(dataset.train.image, place)
    ask = make_logits(evaluate, config.eval_batch_size, group.how, place, group.spread)
    return ask(group.variables, images)


def check_teachers(config: ConfigDict, root: os.PathLike | str) -> None:
    """Raises InputError for what `make_teacher` would refuse, as far as it is known while teachers are missing."""
    named, found = groups_of(config.teacher), workdirs_of_teachers(config, root)
    if all(there.finished for there in found):
        return
    dataset, sizes = make_data(config), []
    for group, there in zip(named, found, strict=True):
        size = known_size(group)
        if there.finished:
            result = there.read("result.json")
            check_fit(result, dataset, f"the teacher in {there}")
            size = len(group.indices(len(result["seeds"]), there))
        sizes.append(size)
    if None not in sizes:
        shares(named, sizes)
        _places(config, named, sizes, tactic.make_mesh(config))


def check_fit(result: Mapping[str, Any], dataset: Dataset, what: str) -> None:
    """Raises InputError where the run with this result, `what` in words, saw other data than this run will."""
    ours = {
        "num_classes": dataset.num_classes,
        "shape": list(dataset.train.image.shape[1:]),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }
    for key, value in ours.items():
        if result[key] != value:
            raise InputError(
                f"{what} was trained with {key} {result[key]}, the data here have {value}."
            )
    if result["evaluated"] != fingerprint(dataset.test):
        raise InputError(
            f"{what} was evaluated on other examples ({result['split']}) than this run will be: it may have "
            "been trained on these. Give both the same data and the same config.holdout."
        )


def fingerprint(variables: PyTree) -> str:
    """Sixteen hexadecimal digits of the sha256 of all arrays and their names."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        array = leaf.identity if isinstance(leaf, Pictures) else sharding.fetch(leaf)
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def workdirs_of_teachers(
    config: ConfigDict, root: os.PathLike | str
) -> tuple[Workdir, ...]:
    """Where the runs of the teachers are, or are to be, one for each group; none without a teacher."""
    return tuple(
        Workdir(group.run or configs.default_workdir(group.config, root))
        for group in groups_of(config.teacher)
    )


def workdir_of(section: ConfigDict, root: os.PathLike | str) -> Workdir | None:
    """Where the run that `config.init` names is, or is to be; None where it names none."""
    if not (section.run or section.config):
        return None
    return Workdir(section.run or configs.default_workdir(section.config, root))
