"""What is taken over before a student learns: layers of its teacher, deployed with it and never
trained, and variables of an earlier run.
"""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from kd.errors import InputError
from kd.types import Augment, Batch, DistillState, Outputs, PyTree, Teacher, View, no_augmentation

COLLECTION = "inherited"
"""Of a student's variables: each array is to be the teacher's parameter of the same path."""


def inherit(variables: PyTree, teacher: PyTree) -> PyTree:
    """The student's variables with collection `inherited` taken from the teacher's params; as they
    are where there is none.

    Args:
      variables: from `student.init`.
      teacher: `frozen["teacher"]`, the variables of one network.

    Raises:
      InputError: no teacher, several at once, one whose outputs are cached, or no parameter of that
        path and shape.
    """
    if COLLECTION not in variables:
        return variables
    params = teacher.get("params") if isinstance(teacher, dict) else None
    if params is None:
        raise InputError(
            "this student inherits layers of its teacher's network and the run has none, or only "
            "its logits. Name one in config.teacher, without cache."
        )

    def find(path: tuple[Any, ...], own: jax.Array) -> jax.Array:
        found = params
        for entry in path:
            found = found.get(entry.key) if isinstance(found, dict) else None
        if getattr(found, "shape", None) == own.shape:
            return found.astype(own.dtype)  # pyrefly: ignore
        name = "/".join(str(entry.key) for entry in path)
        there = f"is {list(found.shape)}" if hasattr(found, "shape") else "is not there"
        raise InputError(
            f"this student inherits {name} {list(own.shape)} of its teacher, where it {there}. The "
            "teacher must be one network (teacher.members = (0,), or 'paired'), and the one that "
            "config.student names."
        )

    taken = jax.tree_util.tree_map_with_path(find, variables[COLLECTION])
    return {**variables, COLLECTION: taken}


def take_over(variables: PyTree, given: PyTree) -> PyTree:
    """`variables` with the arrays of `given`, which has a part of the same paths, in their
    places.
    """
    taken = dict(variables)
    for key, value in given.items():
        inner = isinstance(value, dict)
        taken[key] = take_over(variables[key], value) if inner else value
    return taken


def _split(variables: PyTree) -> tuple[PyTree, PyTree]:
    """Params and the rest."""
    return variables.get("params", {}), {k: v for k, v in variables.items() if k != "params"}


def own_key(key: PRNGKeyArray) -> PRNGKeyArray:
    """The key that a student keeps in its state, from which its augmentation and all else is drawn,
    of the key of its seed.
    """
    return jax.random.split(key, 4)[0]


def make_init(
    student: nn.Module,
    objective: nn.Module,
    teacher: Teacher,
    tx: optax.GradientTransformation,
    augment: Augment = no_augmentation,
) -> Callable[..., DistillState]:
    """`init(key, frozen, batch, given=None) -> DistillState`. The batch gives shapes; errors of fit
    between parts show up here.

    `given` may have variables of the `student` and of the `objective`, all or some: these start
    with its values.
    """

    def init(key: PRNGKeyArray, frozen: PyTree, batch: Batch, given: PyTree = None) -> DistillState:
        given = given or {}
        _, k_student, k_objective, k_augment = jax.random.split(key, 4)
        batch = {**augment(k_augment, batch), "key": k_augment}
        variables = student.init(
            {"params": k_student, "dropout": k_student}, batch["image"], train=False
        )
        variables = take_over(variables, given.get("student", {}))
        variables = inherit(variables, frozen["teacher"])
        mutable = teacher.init(variables)
        view = View(
            student=cast(Outputs, student.apply(variables, batch["image"], train=False)),
            teacher=jax.lax.stop_gradient(teacher.apply(frozen["teacher"], mutable, batch)),
            batch=batch,
            tables=frozen["tables"],
            step=jnp.zeros((), jnp.int32),
            teacher_variables=jax.lax.stop_gradient(frozen["teacher"]),
        )
        own = objective.init({"params": k_objective, "objective": k_objective}, view)
        own = take_over(own, given.get("objective", {}))
        (student_params, student_stats), (own_params, own_stats) = (_split(variables), _split(own))
        params = {"student": student_params, "objective": own_params}
        return DistillState(
            step=jnp.zeros((), jnp.int32),
            key=own_key(key),
            params=params,
            stats={"student": student_stats, "objective": own_stats},
            opt=tx.init(params),
            teacher=mutable,
        )

    return init
