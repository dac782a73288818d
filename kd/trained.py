"""Finished runs as teachers: their networks read back, chosen, and checked against the data of the new run."""

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, Sharding

from kd import config as configs
from kd import precision, sharding, tactic
from kd import teacher as teachers
from kd.checkpoint import load_student
from kd.config import ConfigDict
from kd.data.augment import make_normalize
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.parts import make_model
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


class Taught(NamedTuple):
    """A teacher for the step, its weights, and what a run records of it."""

    teacher: Teacher
    weights: PyTree
    model: nn.Module | None = None
    members: PyTree = None  # their variables [m, ...], to evaluate the ensemble
    how: str = "vmap"  # over the members
    paired: bool = False  # whether student i learns from member i alone
    each: bool = False  # whether the objective sees the members side by side
    origin: dict[str, Any] | None = None
    spread: Callable | None = None  # members over devices, see `kd.sharding.spread`


def make_teacher(
    config: ConfigDict, workdir: Workdir | None, dataset: Dataset, mesh: Mesh
) -> Taught:
    """The teacher of a run, from the finished run in `workdir`; none where that is None. Members are spread over the mesh.

    Raises:
      InputError: members that do not exist or do not divide among devices, pairs that do not match the seeds, other classes,
        inputs or normalisation than the data's.
    """
    if workdir is None:
        return Taught(teachers.none(), ())
    section = config.teacher
    place = sharding.everywhere(mesh)
    trained = load_trained(workdir, place)
    check_fit(trained.result, dataset, f"the teacher in {workdir}")
    members = _members(section.members, len(trained.result["seeds"]), workdir)
    if section.members == "paired" and len(members) != config.seeds:
        raise InputError(
            f"config.teacher.members = 'paired' needs as many teachers as seeds: {workdir} has {len(members)}, "
            f"config.seeds is {config.seeds}."
        )
    spread = None
    if section.members != "paired" and len(members) > 1:
        apart = sharding.members(mesh, len(members))
        spread = sharding.spread(mesh) if tactic.spreads(config) else None
    elif mesh.shape["teacher"] > 1:
        raise InputError(
            f"config.devices.teacher = {mesh.shape['teacher']}: each student here has one teacher, which is not divided. "
            "Use config.devices.data."
        )
    else:
        apart = place
    stacked = pick(trained.variables, np.asarray(members))
    origin = {
        "run": str(workdir),
        "members": members,
        "weights": fingerprint(stacked),
    }
    model, how = trained.model, section.how
    if how == "auto":
        image = jnp.zeros((1, *dataset.train.image.shape[1:]), jnp.float32)
        forward = lambda v, x: model.apply(v, x, train=False)
        how = fastest(forward, pick(stacked, 0), image)
    stacked = sharding.put(stacked, apart)
    single = teachers.frozen(precision.network(model, config.precision))
    weights = stacked
    if section.cache:
        single = teachers.cached()
        evaluate = _evaluate(config, model, dataset)
        images = sharding.put(dataset.train.image, place)
        logits = make_logits(evaluate, config.eval_batch_size, how, place, spread)
        weights = sharding.put(logits(stacked, images), apart)
    taught = Taught(single, weights, model, stacked, how, origin=origin, spread=spread)
    if section.members == "paired":
        return taught._replace(paired=True)
    if len(members) == 1:
        return taught._replace(weights=pick(weights, 0))
    teacher = teachers.ensemble(single, section.reduce, how, spread)
    return taught._replace(teacher=teacher, each=section.reduce == "each")


def _evaluate(config: ConfigDict, model: nn.Module, dataset: Dataset) -> Callable:
    """What asks a cached teacher once. Raises InputError where it would have to be asked each epoch."""
    if augment := config.augment or config.second_view:
        raise InputError(
            f"config.teacher.cache: with augment = {augment!r} no two epochs show the teacher the same images. "
            "Leave one of the two out."
        )
    if isinstance(dataset.train.image, Pictures):
        raise InputError(
            "config.teacher.cache: pictures that are decoded as they are needed are cropped anew in each epoch. Leave it out."
        )
    evaluate = make_eval(model, make_normalize(dataset.mean, dataset.std))
    return precision.evaluation(evaluate, config.precision)


def _members(text: str, size: int, workdir: Workdir) -> list[int]:
    if text in ("all", "paired"):
        return list(range(size))
    members = [int(i) for i in text.split(",")]
    if max(members) >= size:
        raise InputError(
            f"config.teacher.members = {text!r}: {workdir} has members 0 to {size - 1}."
        )
    return members


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


def workdir_of(section: ConfigDict, root: os.PathLike | str) -> Workdir | None:
    """Where the run that `config.teacher` or `config.init` names is, or is to be; None where it names none."""
    if section.get("name") == "none" or not (section.run or section.config):
        return None
    path = section.run or configs.default_workdir(section.config, root)
    return Workdir(path)
