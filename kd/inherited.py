"""What is taken over before a student learns: layers of its teacher, deployed with it and never
trained, and variables of an earlier run.
"""

from typing import Any

import jax

from kd.errors import InputError
from kd.types import PyTree

COLLECTION = "inherited"
"""Of a student's variables: each array is to be the teacher's parameter of the same path."""


def inherit(variables: PyTree, teacher: PyTree) -> PyTree:
    """The student's variables with collection `inherited` taken from the teacher's params; as they
    are where there is none.

    Args:
      variables: from `student.init`.
      teacher: `frozen["teacher"]`, the variables of one network.

    Raises: InputError: no teacher, several at once, one whose outputs are cached, or no parameter
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
