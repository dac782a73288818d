"""Teachers that are no runs of kd: functions, modules, ONNX files, stored logits, features."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from kd import teachers
from kd.config import ConfigDict
from kd.config.teachers import member_weights, members_of_file
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.devices import precision
from kd.devices.mesh import replicated, to_devices
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.runs.networks import weights_hash
from kd.teachers import reduction, source_file, stored_features
from kd.train import evaluated_once, features_file, logits_file, onnx_model, own_function
from kd.train.members import check_sizes
from kd.train.run_teacher import RunTeacher, by_group
from kd.types import PyTree


class _Checked(NamedTuple):
    """A function or network that can teach, its name in messages, and whether jax can trace it."""

    named: Any
    what: str
    traceable: bool


def load(config: ConfigDict, dataset: Dataset, mesh: Mesh | None = None) -> RunTeacher | None:
    """The teacher of a config that names one and no run; None for every other config.

    Args:
      config: of the run, spelled out.
      dataset: of the run.
      mesh: its devices; None leaves arrays where they are.

    Raises:
      InputError: a file that is missing, damaged, or of other data; or a run in which logits that
        are stored cannot be those of what the student sees.
    """
    name = config.teacher.name
    if name == "logits":
        teacher = _stored_logits(config, dataset)
    elif name == "features":
        teacher = _stored_features(config, dataset)
    elif name in ("function", "onnx"):
        teacher = _function(config, dataset)
    else:
        return None
    if mesh is not None:
        teacher = teacher._replace(frozen=to_devices(teacher.frozen, replicated(mesh)))
    return teacher._replace(external=True)


def check(config: ConfigDict, dataset: Dataset) -> None:
    """Raises InputError as `load` does, before anything is trained."""
    if config.teacher.name in ("function", "onnx"):
        _checked(config, dataset)
    else:
        load(config, dataset)


def _stored_logits(config: ConfigDict, dataset: Dataset) -> RunTeacher:
    """The teacher whose logits are in a file."""
    section = config.teacher
    source_file.require(section.logits, section.digest, "logits")
    _check_views(config, dataset, section.logits)
    stored = logits_file.read(config, dataset)
    group = members_of_file(section)
    chosen = group.indices(len(stored.train), section.logits)
    check_sizes(config, section.logits, [len(chosen)])
    weights = member_weights([group], [len(chosen)])
    record = {"source": section.logits, "sha256": section.digest, "members": chosen}
    if len(set(weights)) > 1:
        record["shares"] = weights
    teacher = of_logits(
        stored.train[chosen], section.reduce, weights, paired=section.members == "paired"
    )
    evaluated = None if stored.evaluated is None else stored.evaluated[chosen].astype(np.float32)
    return teacher._replace(origin=record, evaluated=evaluated)


def _stored_features(config: ConfigDict, dataset: Dataset) -> RunTeacher:
    """The teacher whose features are in a file."""
    section = config.teacher
    source_file.require(section.features, section.digest, "features")
    _check_views(config, dataset, section.features, "features")
    features = jnp.asarray(features_file.read(config, dataset))
    record = {"source": section.features, "sha256": section.digest, "members": [0]}
    return RunTeacher(stored_features.stored(), features, origin=record)


def _checked(config: ConfigDict, dataset: Dataset) -> _Checked:
    """The function or network of a config, tried on the data. Raises InputError."""
    section = config.teacher
    if section.name == "onnx":
        source_file.require(section.onnx, section.digest, "onnx")
        what = f"the teacher {section.onnx}"
        evaluated_once.check(config, dataset, what)
        network = onnx_model.load(config, dataset)
        own_function.check(network, dataset, what)
        return _Checked(network, what, False)
    if section.variables:
        source_file.require(section.variables, section.digest, "variables")
    named, what = own_function.named(config, dataset), f"the teacher {section.apply}"
    own_function.check(named, dataset, what)
    traceable = own_function.is_traceable(named, dataset, what)
    if not traceable:
        evaluated_once.check(config, dataset, f"{section.apply}, which jax cannot trace,")
    elif section.cache:
        evaluated_once.check(config, dataset, what)
    return _Checked(named, what, traceable)


def _function(config: ConfigDict, dataset: Dataset) -> RunTeacher:
    """The teacher that a dotted path or an ONNX file names: in the step, or evaluated before if jax
    cannot trace it or the config caches its logits.
    """
    section = config.teacher
    named, what, traceable = _checked(config, dataset)
    record: dict[str, Any] = {"source": section.get("apply") or section.onnx, "members": [0]}
    if isinstance(named, tuple):
        record |= {"sha256": section.digest, "weights": weights_hash(named[1])}
    elif isinstance(named, onnx_model.OnnxModel):
        record |= {"sha256": section.digest}
        record |= {"external": named.external} if named.external else {}
        record |= {"input": named.view.record()} if named.view else {}
    if traceable and not section.cache:
        if isinstance(named, tuple):
            model, variables = named
            teacher = own_function.of_network(model, variables, dataset, config)
        else:
            teacher = own_function.of_function(named, dataset, config)
        return teacher._replace(origin=record)
    function = named
    if traceable:
        function = jax.jit(precision.evaluation(own_function.callable_of(named), config.precision))
    identity = record.get("weights", "")
    if isinstance(named, onnx_model.OnnxModel):
        identity = section.digest
    teacher = evaluated_once.evaluate(function, config, dataset, what, identity)
    return teacher._replace(origin=record)


def of_one_student(teacher: RunTeacher) -> RunTeacher:
    """The teacher of a single student, where each student has its own."""
    if not teacher.per_student:
        return teacher
    return teacher._replace(frozen=tree_index(teacher.frozen, 0), per_student=False)


def of_logits(
    logits: np.ndarray, reduce: str, weights: Sequence[float] | None = None, paired: bool = False
) -> RunTeacher:
    """The teacher that answers with stored logits.

    Args:
      logits: of the training images, [m, n, c].
      reduce: of several members, see `kd.teachers.reduction`.
      weights: of the members, of sum one; None: equal.
      paired: whether student i learns from member i alone.
    """
    m, _, c = logits.shape
    weights = tuple(weights or (1 / m,) * m)
    stored: PyTree = {"logits": jnp.asarray(logits)[:, None]}  # one epoch of views
    cached = teachers.cached(c)
    if paired:
        return RunTeacher(
            cached, stored, member_weights=weights, paired=True, per_student=True, reduce=reduce
        )
    if m == 1:
        only = jax.tree.map(lambda x: x[0], stored)
        return RunTeacher(cached, only, member_weights=weights, reduce=reduce)
    lifts = reduction.find(reduce).lifts
    return RunTeacher(
        teachers.ensemble(cached, reduce, "vmap", None, weights),
        stored,
        member_weights=weights,
        lifted_weights=by_group(weights, [m]) if lifts else (),
        reduce=reduce,
    )


def _check_views(config: ConfigDict, dataset: Dataset, what: str, outputs: str = "logits") -> None:
    """Raises InputError where the student sees other images than those that the file is about."""
    remedies: dict[str, Any] = {key: config[key] for key in ("augment", "second_view", "mix")}
    for key, value in remedies.items():
        if value:
            raise InputError(
                f"config.{key} = {value!r} changes the images at every step, and {what} has the "
                f"teacher's {outputs} of the images as they are. Leave {key} out, or take a "
                "teacher that can be evaluated in the step: config.teacher.run, or a JAX function "
                "as config.teacher.apply."
            )
    if isinstance(dataset.train.image, Pictures):
        raise InputError(
            f"config.teacher: images of data set {config.data.name} are decoded during training "
            f"and cropped anew in each epoch, and {what} has {outputs} of one view. Take a teacher "
            "that can be evaluated in the step: config.teacher.run, or a JAX function as "
            "config.teacher.apply."
        )
