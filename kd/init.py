"""A student's first state: initialised, with layers of its teacher or variables of another run."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from kd import functions
from kd.errors import InputError
from kd.models.adapted import adapt
from kd.models.contract import name_of, warn_of_probabilities
from kd.objective import check_loss, check_objective, check_view
from kd.types import (
    Augment,
    Batch,
    DistillState,
    PyTree,
    Teacher,
    View,
    no_augmentation,
    outputs_of,
)

COLLECTION = "inherited"
"""Collection of a student's variables whose arrays are the teacher's parameters of equal path."""


def inherit(variables: PyTree, teacher: PyTree) -> PyTree:
    """The student's variables with its collection `inherited`, if any, copied from the teacher.

    Such layers are deployed with the student and never trained.

    Args:
      variables: from `student.init`.
      teacher: `frozen["teacher"]`, the variables of one network.

    Raises:
      InputError: no teacher, several at once, cached logits in place of a network, or no parameter
        of that path and shape.
    """
    if COLLECTION not in variables:
        return variables
    params = teacher.get("params") if isinstance(teacher, dict) else None
    if params is None:
        raise InputError(
            "this student inherits layers of its teacher's network and the run has none, or only "
            "its logits. Name one in config.teacher, without cache."
        )

    def copy(path: tuple[Any, ...], array: jax.Array) -> jax.Array:
        leaf: Any = params
        for entry in path:
            leaf = leaf.get(entry.key) if isinstance(leaf, dict) else None
        if leaf is not None and getattr(leaf, "shape", None) == array.shape:
            return leaf.astype(array.dtype)
        name = "/".join(str(entry.key) for entry in path)
        state = f"is {list(leaf.shape)}" if hasattr(leaf, "shape") else "is not there"
        raise InputError(
            f"this student inherits {name} {list(array.shape)} of its teacher, where it {state}. "
            "The teacher must be one network (teacher.members = (0,), or 'paired'), and the one "
            "that config.student names."
        )

    inherited = jax.tree_util.tree_map_with_path(copy, variables[COLLECTION])
    return {**variables, COLLECTION: inherited}


def take_over(variables: PyTree, loaded: PyTree) -> PyTree:
    """`variables` with the arrays of `loaded`, which has some of the same paths."""
    merged = dict(variables)
    for key, value in loaded.items():
        nested = isinstance(value, dict)
        merged[key] = take_over(variables[key], value) if nested else value
    return merged


def _split(variables: PyTree) -> tuple[PyTree, PyTree]:
    """(params, all other collections)."""
    return variables.get("params", {}), {k: v for k, v in variables.items() if k != "params"}


def state_key(key: PRNGKeyArray) -> PRNGKeyArray:
    """The key of a student's state, for augmentation and dropout, from the key of its seed."""
    return jax.random.split(key, 4)[0]


def make_init(
    student: Any,
    objective: Any,
    teacher: Teacher,
    tx: optax.GradientTransformation,
    augment: Augment = no_augmentation,
    watch: Callable[[View, PyTree], None] = lambda view, variables: None,
) -> Callable[..., DistillState]:
    """`init(key, frozen, batch, warm=None) -> DistillState`: the first state of one student.

    The batch gives shapes; parts that do not fit together fail here. Arguments: see
    `kd.step.make_step`. `warm` may hold variables of the `student` and of the `objective`, all or
    some, which replace the initial ones. `watch(view, variables)` is called with the first view and
    the objective's variables, while they are traced.

    Raises:
      InputError: no Flax module, or outputs that do not fit together, see
        `kd.objective.check_view`.
    """
    student = adapt(student, "the student")
    check_objective(objective)
    of_student, of_teacher = functions.of_student(student), functions.of_teacher(teacher)

    def init(key: PRNGKeyArray, frozen: PyTree, batch: Batch, warm: PyTree = None) -> DistillState:
        warm = warm or {}
        _, k_student, k_objective, k_augment = jax.random.split(key, 4)
        batch = {**augment(k_augment, batch), "key": k_augment}
        variables = student.init(
            {"params": k_student, "dropout": k_student}, batch["image"], train=False
        )
        variables = take_over(variables, warm.get("student", {}))
        variables = inherit(variables, frozen["teacher"])
        mutable = teacher.init(variables)
        view = View(
            student=outputs_of(student.apply(variables, batch["image"], train=False), student),
            teacher=functions.answers(teacher, frozen["teacher"], mutable, batch),
            batch=batch,
            tables=frozen["tables"],
            step=jnp.zeros((), jnp.int32),
            teacher_variables=jax.lax.stop_gradient(frozen["teacher"]),
            student_fn=of_student(variables, k_student),
            teacher_fn=of_teacher(frozen["teacher"], mutable, batch),
        )
        check_view(view)
        warn_of_probabilities(view.student.logits, name_of(student))
        keys = {"params": k_objective, "objective": k_objective}
        returned, memory = objective.init_with_output(keys, view)
        check_loss(returned)
        watch(view, memory)
        memory = take_over(memory, warm.get("objective", {}))
        student_params, student_stats = _split(variables)
        objective_params, objective_stats = _split(memory)
        params = {"student": student_params, "objective": objective_params}
        return DistillState(
            step=jnp.zeros((), jnp.int32),
            key=state_key(key),
            params=params,
            stats={"student": student_stats, "objective": objective_stats},
            opt=tx.init(params),
            teacher=mutable,
        )

    return init
