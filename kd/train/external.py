"""Teachers that are no runs of kd: logits from a file or an array, functions, modules."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from kd import teachers
from kd.config import ConfigDict
from kd.config.teachers import member_weights, members_of_file
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.devices.mesh import replicated, to_devices
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.runs.networks import weights_hash
from kd.teachers import reduction, source_file
from kd.train import logits_file, own_function
from kd.train.members import check_sizes
from kd.train.run_teacher import RunTeacher, by_group
from kd.types import PyTree


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
    elif name == "function":
        teacher = _function(config, dataset)
    else:
        return None
    if mesh is not None:
        teacher = teacher._replace(frozen=to_devices(teacher.frozen, replicated(mesh)))
    return teacher._replace(external=True)


def check(config: ConfigDict, dataset: Dataset) -> None:
    """Raises InputError as `load` does, before anything is trained."""
    if config.teacher.name == "function":
        _named(config, dataset)
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


def _named(config: ConfigDict, dataset: Dataset) -> Any:
    """The checked function, or pair (module, variables), of `config.teacher.apply`."""
    section = config.teacher
    if section.variables:
        source_file.require(section.variables, section.digest, "variables")
    named, what = own_function.named(config, dataset), f"the teacher {section.apply}"
    own_function.check(named, dataset, what)
    if not own_function.is_traceable(named, dataset, what):
        _check_views(config, dataset, f"{section.apply}, which jax cannot trace,")
    return named


def _function(config: ConfigDict, dataset: Dataset) -> RunTeacher:
    """The teacher that a dotted path names: in the step, or once if jax cannot trace it."""
    section, named = config.teacher, _named(config, dataset)
    what = f"the teacher {section.apply}"
    record: dict[str, Any] = {"source": section.apply, "members": [0]}
    if isinstance(named, tuple):
        model, variables = named
        record |= {"sha256": section.digest, "weights": weights_hash(variables)}
        teacher = own_function.of_network(model, variables, dataset, config)
    elif own_function.is_traceable(named, dataset, what):
        teacher = own_function.of_function(named, dataset, config)
    else:
        teacher = of_logits(own_function.evaluate(named, dataset, what)[None], section.reduce)
        evaluated = own_function.evaluate(named, dataset, what, "test")[None]
        teacher = teacher._replace(evaluated=evaluated)
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


def _check_views(config: ConfigDict, dataset: Dataset, what: str) -> None:
    """Raises InputError where the student sees other images than those that the logits are of."""
    remedies: dict[str, Any] = {"augment": config.augment, "second_view": config.second_view}
    for key, value in remedies.items():
        if value:
            raise InputError(
                f"config.{key} = {value!r} changes the images at every step, and {what} has the "
                f"teacher's logits of the images as they are. Leave {key} out, or take a teacher "
                "that can be evaluated in the step: config.teacher.run, or a JAX function as "
                "config.teacher.apply."
            )
    if isinstance(dataset.train.image, Pictures):
        raise InputError(
            f"config.teacher: images of data set {config.data.name} are decoded during training "
            f"and cropped anew in each epoch, and {what} has logits of one view. Take a teacher "
            "that can be evaluated in the step: config.teacher.run, or a JAX function as "
            "config.teacher.apply."
        )
