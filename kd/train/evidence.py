"""What a training reads of its teacher: by evidence of the traced objective, not of the config.

The gradient of the objective is traced once, on shapes. Of its inputs those count that reach the
gradient or the objective's own state, terms of weight 0 left out, and what is multiplied by a
constant 0 too.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kd.config import ConfigDict
from kd.config.teachers import groups_of
from kd.errors import InputError
from kd.init import COLLECTION
from kd.objective import Weighted
from kd.train.dependence import live_inputs
from kd.train.run_teacher import RunTeacher
from kd.types import PyTree, View

OUTPUTS = "['teacher']"
"""Where the paths of the teacher's outputs begin."""

ALL_STEPS = 100_000
"""Steps of a schedule that are evaluated at once."""


class Seen(NamedTuple):
    """Shapes of what an objective is given and has: the view of a batch, and its variables."""

    view: View
    variables: PyTree


def seen(view: View, variables: PyTree) -> Seen:
    """The shapes of a view and of the objective's variables, traced or not."""
    shape = lambda x: jax.ShapeDtypeStruct(jnp.shape(x), x.dtype)
    return jax.tree.map(shape, Seen(view, variables))


def check(
    objective: nn.Module,
    shapes: Seen,
    steps: int,
    teacher: RunTeacher,
    student: PyTree,
    config: ConfigDict,
    start: Mapping[str, Any] | None = None,
) -> None:
    """Raises InputError if nothing is learned, or nothing from the teacher or a setting of it.

    A teacher is of use beside the objective where the student inherits its layers, where it is
    evaluated itself, as a mean of the student's weights is, or where the run that the student
    starts from learned from it: the first of the two runs of a method.

    Args:
      objective: of the run.
      shapes: from `seen`.
      steps: of the run.
      teacher: of the run.
      student: the student's variables.
      config: of the run.
      start: config of the run that the student starts from, if any.
    """
    silent = silent_terms(objective, steps)
    if isinstance(objective, Weighted) and len(silent) == len(objective.terms):
        raise InputError(
            f"config.objective: {' and '.join(silent)}: the weight is 0 in all {steps} steps, so "
            "that the student would learn nothing. Give a term a positive weight."
        )
    if shapes.view.teacher is None or teacher.student_variables or COLLECTION in student:
        return
    reads = teacher_reads(objective, shapes, silent)
    if any(reads.values()):
        check_settings(reads, teacher, config)
        return
    if start is not None and _networks(start.get("teacher", {})) == _networks(config.teacher):
        return
    terms = list(objective.terms) if isinstance(objective, Weighted) else []
    others = [term for term in terms if term not in silent]
    facts = [f"{term} has the weight 0 in all {steps} steps" for term in silent]
    facts += [f"{term} does not read it" for term in others]
    raise InputError(
        "config.teacher: no term of config.objective learns from the teacher"
        + (f": {', and '.join(facts)}. " if facts else ". ")
        + "Leave the teacher out (with its members, weights, reduce and cache), or add a term such "
        "as config.objective.kd = dict(name='kd.KD')."
    )


def _networks(section: Mapping[str, Any] | ConfigDict) -> list[Any]:
    """The members that a section `teacher` names; of a stored one, too, whose tuples are lists."""
    groups = groups_of(ConfigDict(dict(section.items())))
    return json.loads(json.dumps([group._asdict() for group in groups]))


def check_settings(reads: Mapping[str, bool], teacher: RunTeacher, config: ConfigDict) -> None:
    """Raises InputError for settings of the teacher's outputs that no term reads."""
    outputs = [path for path, is_read in reads.items() if is_read and path.startswith(OUTPUTS)]
    unused = {}
    if not outputs:
        unused["cache"] = config.teacher.cache
        unused["reduce"] = teacher.reduce if teacher.reduce != "probs" else ""
    if not outputs or reads.get(f"{OUTPUTS}.weights") is False:
        unused["weights"] = len(set(teacher.member_weights)) > 1
    for key, value in unused.items():
        if value:
            raise InputError(
                f"config.teacher.{key}: no term of config.objective reads what it is for. "
                f"config.objective learns from {', '.join(p for p, r in reads.items() if r)} "
                "alone. Leave it out."
            )


def teacher_reads(
    objective: nn.Module, shapes: Seen, silent: Sequence[str] = ()
) -> dict[str, bool]:
    """Which arrays of the teacher the objective learns from, by their paths in `View`.

    Args:
      objective: `view -> (loss, {term: value})`.
      shapes: from `seen`.
      silent: terms of a `Weighted` to leave out.
    """
    if isinstance(objective, Weighted) and silent:
        terms = {name: term for name, term in objective.terms.items() if name not in silent}
        objective = objective.clone(terms=terms)
    params = shapes.variables.get("params", {})
    stats = {name: value for name, value in shapes.variables.items() if name != "params"}
    view = shapes.view

    def gradient(teacher: Any, view: View, params: PyTree, stats: PyTree) -> Any:
        outputs, function, variables = teacher

        def loss(student: Any, params: PyTree) -> Any:
            seen_by_it = view.replace(  # pyrefly: ignore
                student=student[0],
                student_fn=student[1],
                teacher=outputs,
                teacher_variables=variables,
                teacher_fn=function,
            )
            (value, _), state = objective.apply(
                {"params": params, **stats},
                seen_by_it,
                rngs={"objective": jax.random.key(0)},
                mutable=list(stats),
            )
            return value, state

        student = (view.student, view.student_fn)
        return jax.grad(loss, (0, 1), has_aux=True, allow_int=True)(student, params)

    teacher = (view.teacher, view.teacher_fn, view.teacher_variables)
    with jax.numpy_rank_promotion("allow"):
        program = jax.make_jaxpr(gradient)(teacher, view, params, stats)
    live = live_inputs(program)
    names = ("teacher", "teacher_fn", "teacher_variables")  # in the order of a dict
    leaves = jax.tree_util.tree_leaves_with_path(dict(zip(names, teacher, strict=True)))
    paths = [jax.tree_util.keystr(path) for path, _ in leaves]
    return dict(zip(paths, live[: len(paths)], strict=True))


def silent_terms(objective: nn.Module, steps: int) -> list[str]:
    """Terms of a `Weighted` whose weight is 0 in each of the steps."""
    if not isinstance(objective, Weighted):
        return []
    return [name for name in objective.terms if _is_silent(objective.weights[name], steps)]


def _is_silent(weight: Any, steps: int) -> bool:
    if not callable(weight):
        return not np.any(np.asarray(weight))
    for step in {0, steps // 2, steps - 1}:  # most schedules are done with here
        if np.any(np.asarray(weight(jnp.int32(step)))):
            return False
    for first in range(0, steps, ALL_STEPS):
        values = jax.vmap(weight)(jnp.arange(first, min(first + ALL_STEPS, steps)))
        if np.any(np.asarray(values)):
            return False
    return True
