"""Warm start: students that begin with the variables of a finished run (`config.init`).

Methods of two stages are two runs: the second starts from the first. Variables are matched by path,
as in the optimizer's masks: `student/conv1/kernel`, `objective/terms_ft/encoder/conv1/kernel`.
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
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.quantize.student import COLLECTION
from kd.runs.checkpoint import load_some, stored
from kd.runs.lineage import WEIGHTS, weights_of
from kd.runs.networks import check_fit, load_weights, weights_hash
from kd.runs.workdir import Workdir
from kd.types import DistillState, PyTree

type Flat = dict[tuple[str, ...], Any]
"""Leaves of variables by collection and path."""


class Start(NamedTuple):
    """Initial variables for `kd.init.make_init`, stacked over seeds, and their record."""

    variables: Mapping[str, PyTree] = {}
    origin: dict[str, Any] | None = None


def check(
    config: ConfigDict, student: PyTree, image: jax.ShapeDtypeStruct, num_classes: int
) -> None:
    """Raises InputError for a missing first run, or one of another network, before any training.

    Args:
      config: of the run, spelled out.
      student: shapes of the student's variables.
      image: the student's input.
      num_classes: of the data.
    """
    for term in _second_stage_terms(config):
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
        stored_shapes = jax.eval_shape(init, image)
        _shared("student", student, stored_shapes, config.init.take, config.init.config)


def make_start(
    config: ConfigDict,
    workdir: Workdir | None,
    dataset: Dataset,
    shapes: DistillState,
    place: Sharding,
) -> Start:
    """Variables from the finished run in `workdir`; none if that is None.

    Student i starts from network i, or all students from the only network. Of the student all
    variables that `config.init.take` matches are loaded, of the objective those that both have.

    Args:
      config: of the new run.
      workdir: of the finished run.
      dataset: of the new run.
      shapes: of the new run's states, stacked over seeds.
      place: sharding of the loaded arrays.

    Raises:
      InputError: another network, no shared variables, other data, or a number of networks that is
        neither one nor the number of seeds.
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
    metadata = stored(workdir.checkpoints)
    like, terms = {}, set()
    for side in ("student", "objective"):
        new = {"params": shapes.params[side], **shapes.stats[side]}
        new, old = (jax.tree.map(_unstacked, tree) for tree in (new, metadata[side]))
        shared = _shared(side, new, old, take, workdir)
        terms |= {path[1] for path in shared if side == "objective"}
        if shared:
            like[side] = flax.traverse_util.unflatten_dict(
                {
                    path: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype, sharding=place)
                    for path, leaf in shared.items()
                }
            )
    missing = [term for term in _second_stage_terms(config) if f"terms_{term}" not in terms]
    if missing:
        raise InputError(
            f"config.objective.{missing[0]} starts from what its first run has learnt, and "
            f"{workdir} has nothing of that "
            f"name{f' that config.init.take = {take!r} finds' if take else ''}. Give that run in "
            "config.init."
        )
    if not like:
        raise InputError(
            f"config.init: {workdir} and this run have no variables in common that "
            f"config.init.take = {take!r} finds."
        )
    variables = _load(workdir, metadata["student"], like, place)
    origin = {"run": str(workdir), "weights": weights_hash(variables), WEIGHTS: weights_of(workdir)}
    if count < seeds:
        variables = tree_index(variables, jnp.zeros(seeds, jnp.int32))
    return Start(variables, origin)


def _load(workdir: Workdir, student: PyTree, like: Mapping[str, PyTree], place: Sharding) -> PyTree:
    """The variables that `like` has. All of the `student` are read, for only they can be checked.

    Args:
      workdir: of the finished run.
      student: metadata of its checkpoint, from `kd.runs.checkpoint.stored`.
      like: shapes by side and path.
      place: sharding of the loaded arrays.
    """
    shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
    variables = load_weights(workdir, jax.tree.map(shape, student))
    loaded = {}
    if "student" in like:
        paths = flax.traverse_util.flatten_dict(like["student"])
        flat = flax.traverse_util.flatten_dict(variables)
        loaded["student"] = flax.traverse_util.unflatten_dict({path: flat[path] for path in paths})
    rest = {side: tree for side, tree in like.items() if side != "student"}
    return loaded | (load_some(workdir.checkpoints, rest) if rest else {})


def _second_stage_terms(config: ConfigDict) -> list[str]:
    """Terms whose objectives declare that they start from another run."""
    return [term for term, needs in build.needs(config).items() if "init" in needs]


def _unstacked(leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape of one network's array, from that of stacked networks."""
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)


def _shared(side: str, new: PyTree, old: PyTree, take: str, source: Workdir | str) -> Flat:
    """Leaves of `new` that `take` matches and that `old` has too.

    All matching leaves of a student must be in both, but for the observed ranges of a quantized
    student, which a student in floating point does not have.

    Raises:
      InputError: shapes differ, or one of the two students lacks an array of the other.
    """
    new, old = (_matching(side, tree, take) for tree in (new, old))
    both = new.keys() & old.keys()
    wrong = {path for path in both if new[path].shape != old[path].shape}
    if side == "student":
        wrong |= {path for path in new.keys() ^ old.keys() if path[0] != COLLECTION}
    if wrong:
        path = min(wrong)
        shape_in = lambda tree: list(tree[path].shape) if path in tree else "absent"
        more = f", and {len(wrong) - 1} more differ" if len(wrong) > 1 else ""
        raise InputError(
            f"config.init: {source} has another {side}: {_name(side, path)} is {shape_in(new)} "
            f"here and {shape_in(old)} there{more}. Give a run of the same network, or name in "
            "config.init.take, a regular expression, what both have."
        )
    return {path: leaf for path, leaf in new.items() if path in both}


def _matching(side: str, variables: PyTree, take: str) -> Flat:
    flat = flax.traverse_util.flatten_dict(variables)
    return {path: x for path, x in flat.items() if re.search(take, _name(side, path))}


def _name(side: str, path: tuple[str, ...]) -> str:
    return "/".join((side, *path[1:]))
