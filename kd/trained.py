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
from kd import sharding, tactic
from kd import teacher as teachers
from kd.checkpoint import load_student
from kd.config import ConfigDict
from kd.data.augment import make_normalize
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.parts import make_model
from kd.peers import peers
from kd.peers import stacked as networks_of
from kd.program import make_logits
from kd.step import make_eval
from kd.transform import fastest, pick
from kd.types import PyTree, Teacher
from kd.workdir import Workdir


class Trained(NamedTuple):
    """Networks of a finished run: one architecture, variables stacked [m, ...], and which of the run's they are."""

    model: nn.Module
    variables: PyTree
    result: dict[str, Any]
    members: list[int]


def load_trained(
    workdir: Workdir, place: Sharding | None = None, members: str = "all"
) -> Trained:
    """Networks of a finished run, `members` as `config.teacher.members` has it: one for each seed, or where the students were
    cohorts of k peers, k for each: peers of the first, then those of the second, ...

    Raises:
      InputError: the run is not finished or not a run, has no such members, or they are of several architectures.
    """
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
    variables = load_student(workdir.checkpoints, stacked)
    nets = peers(model) * len(result["seeds"])
    chosen = _members(members, len(nets), workdir)
    if any(nets[i] != nets[chosen[0]] for i in chosen):
        kinds = {}
        for i, net in enumerate(nets):
            kinds.setdefault(nets.index(net), []).append(i)
        alike = " or ".join(str(tuple(own)) for own in kinds.values())
        raise InputError(
            f"config.teacher.members = {members!r}: {workdir} has networks of several architectures. Those of one are {alike}."
        )
    return Trained(
        nets[chosen[0]], networks_of(model, variables, chosen), result, chosen
    )


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
    own: Callable[[PyTree], PyTree] | None = (
        None  # its variables of `DistillState.teacher`
    )


def make_teacher(
    config: ConfigDict, workdir: Workdir | None, dataset: Dataset, mesh: Mesh
) -> Taught:
    """The teacher of a run, from the finished run in `workdir`; without one the mean of its own student, or none.

    Members are spread over the mesh.

    Raises:
      InputError: members that do not exist or do not divide among devices, pairs that do not match the seeds, other classes,
        inputs or normalisation than the data's.
    """
    section = config.teacher
    if section.name == "ema":
        student = make_model(config.student.to_dict(), dataset.num_classes)
        mean = teachers.ema(student, section.decay)
        return Taught(mean, (), own=lambda state: state["mean"])
    if workdir is None:
        return Taught(teachers.none(), ())
    place = sharding.everywhere(mesh)
    trained = load_trained(workdir, place, section.members)
    members = trained.members
    _check_fit(trained.result, dataset, workdir)
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
    stacked = trained.variables
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
    single, weights = teachers.frozen(model), stacked
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
    if config.augment:
        raise InputError(
            f"config.teacher.cache: with augment = {config.augment!r} no two epochs show the teacher the same images. "
            "Leave one of the two out."
        )
    if isinstance(dataset.train.image, Pictures):
        raise InputError(
            "config.teacher.cache: pictures that are decoded as they are needed are cropped anew in each epoch. Leave it out."
        )
    return make_eval(model, make_normalize(dataset.mean, dataset.std))


def _members(text: str, size: int, workdir: Workdir) -> list[int]:
    if text in ("all", "paired"):
        return list(range(size))
    members = [int(i) for i in text.split(",")]
    if max(members) >= size:
        raise InputError(
            f"config.teacher.members = {text!r}: {workdir} has members 0 to {size - 1}."
        )
    return members


def _check_fit(result: Mapping[str, Any], dataset: Dataset, workdir: Workdir) -> None:
    ours = {
        "num_classes": dataset.num_classes,
        "shape": list(dataset.train.image.shape[1:]),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }
    for key, value in ours.items():
        if result[key] != value:
            raise InputError(
                f"the teacher in {workdir} was trained with {key} {result[key]}, the data here have {value}."
            )
    if result["evaluated"] != fingerprint(dataset.test):
        raise InputError(
            f"the teacher in {workdir} was evaluated on other examples ({result['split']}) than this run will be: it may have "
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


def workdir_of_teacher(config: ConfigDict, root: os.PathLike | str) -> Workdir | None:
    """Where the run of the teacher is, or is to be; None without a teacher that was trained before."""
    section = config.teacher
    if section.get("name") != "frozen":
        return None
    path = section.run or configs.default_workdir(section.config, root)
    return Workdir(path)
