"""Finished runs whose networks others build on: where they are, read back, chosen, and checked
against the data of the new run.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from kd import config as configs
from kd.build import make_model
from kd.config import ConfigDict
from kd.config.teachers import ALL, Group, groups_of
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.devices import mesh
from kd.errors import InputError
from kd.models.peers import peers
from kd.models.peers import stacked as networks_of
from kd.runs.checkpoint import load_student
from kd.runs.workdir import Workdir
from kd.types import PyTree


class Trained(NamedTuple):
    """Networks of a finished run: one architecture, variables stacked [m, ...], and which of the
    run's they are.
    """

    model: nn.Module
    variables: PyTree
    result: dict[str, Any]
    members: list[int]


def load_trained(workdir: Workdir, place: Sharding | None = None, group: Group = ALL) -> Trained:
    """Networks of a finished run, those that a group takes: of one for each seed, or where the
    students were cohorts of k peers, of k for each: peers of the first, then those of the second,
    ...

    Raises:
      InputError: the run is not finished or not a run, has no such members, or they are of several
        architectures.
    """
    config = workdir.read("config.json")
    result = workdir.read("result.json")
    model = make_model(config["student"], result["num_classes"])
    place = place or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    image = jax.ShapeDtypeStruct((1, *result["shape"]), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), image)
    stacked = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(result["seeds"]), *x.shape), x.dtype, sharding=place),
        shapes,
    )
    variables = load_student(workdir.checkpoints, stacked)
    nets = peers(model) * len(result["seeds"])
    chosen = group.indices(len(nets), workdir)
    if any(nets[i] != nets[chosen[0]] for i in chosen):
        kinds = {}
        for i, net in enumerate(nets):
            kinds.setdefault(nets.index(net), []).append(i)
        alike = " or ".join(str(tuple(own)) for own in kinds.values())
        raise InputError(
            f"{group.where}.members = {group.members!r}: {workdir} has networks of several "
            f"architectures. Those of one are {alike}."
        )
    return Trained(nets[chosen[0]], networks_of(model, variables, chosen), result, chosen)


def check_fit(result: Mapping[str, Any], dataset: Dataset, what: str) -> None:
    """Raises InputError where the run with this result, `what` in words, saw other data than this
    run will.
    """
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
            f"{what} was evaluated on other examples ({result['split']}) than this run will be: it "
            "may have been trained on these. Give both the same data and the same config.holdout."
        )


def fingerprint(variables: PyTree) -> str:
    """Sixteen hexadecimal digits of the sha256 of all arrays and their names."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        array = leaf.identity if isinstance(leaf, Pictures) else mesh.to_host(leaf)
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def workdirs_of_teachers(config: ConfigDict, root: os.PathLike | str) -> tuple[Workdir, ...]:
    """Where the runs of the teachers are, or are to be, one for each group; none without a
    teacher.
    """
    return tuple(
        Workdir(group.run or configs.default_workdir(group.config, root))
        for group in groups_of(config.teacher)
    )


def workdir_of(section: ConfigDict, root: os.PathLike | str) -> Workdir | None:
    """Where the run that `config.init` names is, or is to be; None where it names none."""
    if not (section.run or section.config):
        return None
    return Workdir(section.run or configs.default_workdir(section.config, root))
