"""Teachers that are no runs of kd: logits from a file or an array."""

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
from kd.teachers import reduction, source_file
from kd.train import logits_file
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
    if config.teacher.name != "logits":
        return None
    section = config.teacher
    source_file.require(section.logits, section.digest, "logits")
    _check_views(config, dataset)
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
    if mesh is not None:
        teacher = teacher._replace(frozen=to_devices(teacher.frozen, replicated(mesh)))
    evaluated = None if stored.evaluated is None else stored.evaluated[chosen].astype(np.float32)
    return teacher._replace(origin=record, evaluated=evaluated, external=True)


def check(config: ConfigDict, dataset: Dataset) -> None:
    """Raises InputError as `load` does, before anything is trained."""
    load(config, dataset)


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


def _check_views(config: ConfigDict, dataset: Dataset) -> None:
    """Raises InputError where the student sees other images than those that the logits are of."""
    remedies: dict[str, Any] = {"augment": config.augment, "second_view": config.second_view}
    for key, value in remedies.items():
        if value:
            raise InputError(
                f"config.{key} = {value!r} changes the images at every step, and "
                f"{config.teacher.logits} has the teacher's logits of the images as they are. "
                f"Leave {key} out, or take a teacher that can be evaluated during training "
                "(config.teacher.run)."
            )
    if isinstance(dataset.train.image, Pictures):
        raise InputError(
            f"config.teacher.logits: images of data set {config.data.name} are decoded during "
            "training and cropped anew in each epoch, and logits that are stored are of one view. "
            "Take a teacher that can be evaluated during training (config.teacher.run)."
        )
