"""What students start from: a finished run, such as the first of a method's two, whose variables
they take over by name.

A path is that of the optimizer's masks: `student/conv1/kernel`,
`objective/terms_ft/encoder/conv1/kernel`.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
from jax.sharding import Sharding

from kd import build
from kd import config as configs
from kd.config import ConfigDict
from kd.data.base import Dataset
from kd.devices.vectorize import pick
from kd.errors import InputError
from kd.quantize.student import COLLECTION
from kd.runs.checkpoint import load_some, stored
from kd.runs.lineage import WEIGHTS, weights_of
from kd.runs.networks import check_fit, weights_hash
from kd.runs.workdir import Workdir
from kd.types import DistillState, PyTree

type Flat = dict[tuple[str, ...], Any]
"""Leaves of variables by collection and path."""


class Start(NamedTuple):
    """What `kd.step.make_init` is given, stacked over seeds, and what a run records of it."""

    variables: Mapping[str, PyTree] = {}
    origin: dict[str, Any] | None = None


def check(
    config: ConfigDict, student: PyTree, image: jax.ShapeDtypeStruct, num_classes: int
) -> None:
    """Raises InputError for what can be told before any run is trained: no first run, or one of
    another network.

    Args:
      config: of the run, spelled out.
      student: shapes of its student's variables.
      image: what the student sees.
      num_classes: of the data.
    """
    for term in _waiting(config):
        if not (config.init.run or config.init.config):
            raise InputError(
                f"config.objective.{term}: {config.objective[term].name} is the second of two "
                "runs. Say what it starts from: config.init = dict(config=...), the run of its "
                "first objective under the same name of term."
            )
    if config.student.quantize and not (config.init.run or config.init.config):
        raise InputError(
            "config.student.quantize: training on eight bits is fine-tuning, BatchNorm keeps the "
            "statistics that it has. Say what it starts from: config.init = dict(config=...), the "
            "run of the same student without quantize."
        )
    if config.init.config:
        first = build.spell_out(configs.load(config.init.config))
        model = build.make_model(first.student.to_dict(), num_classes)
        init = lambda x: model.init(jax.random.key(0), x, train=False)
        theirs = jax.eval_shape(init, image)
        _common("student", student, theirs, config.init.take, config.init.config)


def make_start(
    config: ConfigDict,
    workdir: Workdir | None,
    dataset: Dataset,
    shapes: DistillState,
    place: Sharding,
) -> Start:
    """Variables from the finished run in `workdir`; none where that is None.

    Student i starts from network i of as many, or all from the only one. Of the student all is
    taken over that `config.init.take` finds, of the objective what both have.

    Args:
      config: of the new run.
      workdir: of the first.
      dataset: of the new run.
      shapes: of the new run's states, stacked over seeds.
      place: where the arrays go.

    Raises:
      InputError: another network, nothing in common, other data, or networks that are neither one
        nor as many as seeds.
    """
    if workdir is None:
        return Start()
    result = workdir.read("result.json")
    check_fit(result, dataset, f"config.init: the run in {workdir}")
    count, seeds, take = len(result["seeds"]), config.seeds, config.init.take
    if count not in (1, seeds):
        raise InputError(
            f"config.init: {workdir} has {count} networks and config.seeds is {seeds}: expected "
            "one network, or one for each seed."
        )
    theirs = stored(workdir.checkpoints)
    like, named = {}, set()
    for side in ("student", "objective"):
        ours = {"params": shapes.params[side], **shapes.stats[side]}
        ours, kept = (jax.tree.map(_one, tree) for tree in (ours, theirs[side]))
        common = _common(side, ours, kept, take, workdir)
        named |= {path[1] for path in common if side == "objective"}
        if common:
            like[side] = flax.traverse_util.unflatten_dict(
                {
                    path: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype, sharding=place)
                    for path, leaf in common.items()
                }
            )
    lacking = [term for term in _waiting(config) if f"terms_{term}" not in named]
    if lacking:
        raise InputError(
            f"config.objective.{lacking[0]} starts from what its first run has learnt, and "
            f"{workdir} has nothing of that "
            f"name{f' that config.init.take = {take!r} finds' if take else ''}. Give that run in "
            "config.init."
        )
    if not like:
        raise InputError(
            f"config.init: {workdir} and this run have no variables in common that "
            f"config.init.take = {take!r} finds."
        )
    variables = load_some(workdir.checkpoints, like)
    origin = {"run": str(workdir), "weights": weights_hash(variables), WEIGHTS: weights_of(workdir)}
    if count < seeds:
        variables = pick(variables, jnp.zeros(seeds, jnp.int32))
    return Start(variables, origin)


def _waiting(config: ConfigDict) -> list[str]:
    """Terms whose objectives declare that they start from another run."""
    return [term for term, needs in build.needs(config).items() if "init" in needs]


def _one(leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape of one network, of stacked ones."""
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)


def _common(side: str, ours: PyTree, theirs: PyTree, take: str, where: Workdir | str) -> Flat:
    """What is taken over: leaves of `ours` that `take` finds and that are in `theirs`. Of a
    student, all must be.

    But for what a quantized student sees of its ranges: one that starts from a student in floating
    point has yet to see them.

    Raises:
      InputError: shapes differ; or one of the two students has what the other lacks.
    """
    ours, theirs = (_found(side, tree, take) for tree in (ours, theirs))
    both = ours.keys() & theirs.keys()
    wrong = {path for path in both if ours[path].shape != theirs[path].shape}
    if side == "student":
        alone = ours.keys() ^ theirs.keys()
        wrong |= {path for path in alone if path[0] != COLLECTION}
    if wrong:
        path = min(wrong)
        here, there = (
            list(tree[path].shape) if path in tree else "absent" for tree in (ours, theirs)
        )
        raise InputError(
            f"config.init: {where} has another {side}: {_name(side, path)} is {here} here and "
            f"{there} there{f', and {len(wrong) - 1} more differ' if len(wrong) > 1 else ''}. Give "
            "a run of the same network, or name in config.init.take, a regular expression, what "
            "both have."
        )
    return {path: leaf for path, leaf in ours.items() if path in both}


def _found(side: str, variables: PyTree, take: str) -> Flat:
    flat = flax.traverse_util.flatten_dict(variables)
    return {path: x for path, x in flat.items() if re.search(take, _name(side, path))}


def _name(side: str, path: tuple[str, ...]) -> str:
    return "/".join((side, *path[1:]))
