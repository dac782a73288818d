"""Warm start: students that begin with the variables of a finished run (`config.init`).

Methods of two stages are two runs: the second starts from the first. Variables are matched by path,
as in the optimizer's masks: `student/conv1/kernel`, `objective/terms_ft/encoder/conv1/kernel`.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
from jax.sharding import Sharding

from kd import build
from kd import config as configs
from kd.config import ConfigDict
from kd.config.defaults import LABELS
from kd.config.identity import identity
from kd.data.base import Dataset
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.quantize.student import COLLECTION, Quantized
from kd.runs.checkpoint import load_some, stored
from kd.runs.lineage import WEIGHTS, weights_of
from kd.runs.networks import check_fit, load_weights, weights_hash
from kd.runs.workdir import Workdir
from kd.types import DistillState, PyTree

type Path = tuple[str, ...]
"""Collection of a variable, and its path."""

type Flat = dict[Path, Any]
"""Leaves of variables by collection and path."""

type Fit = Callable[[Path, jax.Array], jax.Array]
"""Makes one network's array fit a student of images of another size."""

MAY_DIFFER = ("mean", "std", *LABELS)
"""Settings that two runs of the same images may have different values of."""


class Start(NamedTuple):
    """Initial variables for `kd.init.make_init`, stacked over seeds, and their record."""

    variables: Mapping[str, PyTree] = {}
    origin: dict[str, Any] | None = None


def check(
    config: ConfigDict,
    student: PyTree,
    image: jax.ShapeDtypeStruct,
    num_classes: int,
    network: nn.Module,
) -> None:
    """Raises InputError for a missing first run, or one of another network, before any training.

    Args:
      config: of the run, spelled out.
      student: shapes of the student's variables.
      image: the student's input.
      num_classes: of the data.
      network: the student.
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
        fit, shape = _fit(network, image.shape[1:]), image.shape
        if config.init.other_data:
            dataset = build.stored_data(first)
            num_classes, shape = dataset.num_classes, (2, *dataset.train.image.shape[1:])
        model = build.make_model(first.student.to_dict(), num_classes)
        init = lambda x: model.init(jax.random.key(0), x, train=False)
        stored_shapes = jax.eval_shape(init, jax.ShapeDtypeStruct(shape, image.dtype))
        _shared("student", student, stored_shapes, config.init, config.init.config, fit)


def make_start(
    config: ConfigDict,
    workdir: Workdir | None,
    dataset: Dataset,
    shapes: DistillState,
    place: Sharding,
    student: nn.Module,
) -> Start:
    """Variables from the finished run in `workdir`; none if that is None.

    Student i starts from network i, or all students from the only network. Of the student all
    variables that `config.init.take` matches are loaded, of the objective those that both have.
    What depends on the images' size is fitted to the new one where the student's network knows how
    (`fitted` of `kd.models.vit.ViT`).

    Args:
      config: of the new run.
      workdir: of the finished run.
      dataset: of the new run.
      shapes: of the new run's states, stacked over seeds.
      place: sharding of the loaded arrays.
      student: of the new run.

    Raises:
      InputError: another network, no shared variables, other data, or a number of networks that is
        neither one nor the number of seeds.
    """
    if workdir is None:
        return Start()
    result = workdir.read("result.json")
    check_data(config, workdir, workdir.read("config.json"), result, dataset)
    count, seeds, take = len(result["seeds"]), config.seeds, config.init.take
    if count not in (1, seeds):
        raise InputError(
            f"config.init: {workdir} has {count} networks and config.seeds is {seeds}: expected "
            "one network, or one for each seed."
        )
    metadata = stored(workdir.checkpoints)
    fit = _fit(student, dataset.train.image.shape[1:])
    like, terms = {}, set()
    for side in ("student", "objective"):
        new = {"params": shapes.params[side], **shapes.stats[side]}
        new, old = (jax.tree.map(_unstacked, tree) for tree in (new, metadata[side]))
        shared = _shared(side, new, old, config.init, workdir, fit)
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
    if "student" in variables:
        flat: Flat = flax.traverse_util.flatten_dict(variables["student"])
        fitted = {path: jax.vmap(partial(fit, path))(array) for path, array in flat.items()}
        variables["student"] = flax.traverse_util.unflatten_dict(fitted)
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


def check_data(
    config: ConfigDict,
    workdir: Workdir,
    first: Mapping[str, Any],
    result: Mapping[str, Any],
    dataset: Dataset,
) -> None:
    """Raises InputError if the first run is of other data, and `config.init` does not say so.

    Of the same data set it must have left out the same images in any case: the others may be those
    that this run is evaluated on.

    Args:
      config: of the new run.
      workdir: of the first run.
      first: its config.
      result: content of its `result.json`, or what `kd.runs.networks.facts_of` says of it.
      dataset: of the new run.
    """
    settings = lambda c: {k: v for k, v in identity(c)["data"].items() if k not in MAY_DIFFER}
    if config.init.other_data and settings(first) != settings(config.to_dict()):
        return
    try:
        check_fit(result, dataset, f"config.init: the run in {workdir}")
    except InputError as error:
        if config.init.other_data:
            raise
        raise InputError(
            f"{error} To start from a network that was trained on other data, none of which are "
            "among the test images here, set config.init.other_data = True."
        ) from None


def _fit(network: nn.Module, image: tuple[int, ...]) -> Fit:
    """What makes a loaded array fit a student of images [h, w, c]; by default, nothing is done."""
    network = network.net if isinstance(network, Quantized) else network
    method = getattr(network, "fitted", None)

    def fit(path: Path, array: jax.Array) -> jax.Array:
        if method is None or path[0] != "params":
            return array
        return method("/".join(path[1:]), array, image)

    return fit


def _shared(
    side: str, new: PyTree, old: PyTree, init: ConfigDict, source: Workdir | str, fit: Fit
) -> Flat:
    """Leaves that `init.take` matches in both: the shapes of `old`, the types of `new`.

    All matching leaves of a student must be in both, but for the observed ranges of a quantized
    student, which a student in floating point does not have.

    Raises:
      InputError: shapes differ, also after `fit`, or one of the two students lacks an array of the
        other.
    """
    new, old = (_matching(side, tree, init.take) for tree in (new, old))
    both = new.keys() & old.keys()
    wrong = {path for path in both if new[path].shape != old[path].shape}
    if side == "student":
        wrong = {path for path in wrong if _fitted_shape(fit, path, old[path]) != new[path].shape}
        wrong |= {path for path in new.keys() ^ old.keys() if path[0] != COLLECTION}
    if wrong:
        path = min(wrong)
        shape_in = lambda tree: list(tree[path].shape) if path in tree else "absent"
        more = f", and {len(wrong) - 1} more differ" if len(wrong) > 1 else ""
        head = " For other classes, take = '^student/(?!head)' leaves the head out."
        raise InputError(
            f"config.init: {source} has another {side}: {_name(side, path)} is {shape_in(new)} "
            f"here and {shape_in(old)} there{more}. Give a run of the same network, or name in "
            f"config.init.take, a regular expression, what both have."
            f"{head if init.other_data else ''}"
        )
    return {path: jax.ShapeDtypeStruct(old[path].shape, new[path].dtype) for path in both}


def _fitted_shape(fit: Fit, path: Path, array: jax.ShapeDtypeStruct) -> tuple[int, ...]:
    """The shape of an array after `fit`, without the warnings of fitting it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return jax.eval_shape(partial(fit, path), array).shape


def _matching(side: str, variables: PyTree, take: str) -> Flat:
    flat = flax.traverse_util.flatten_dict(variables)
    return {path: x for path, x in flat.items() if re.search(take, _name(side, path))}


def _name(side: str, path: tuple[str, ...]) -> str:
    return "/".join((side, *path[1:]))
