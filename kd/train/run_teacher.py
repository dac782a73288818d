"""A run's teacher as its step and its evaluation take it, whatever it came from."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from kd import teachers
from kd.devices.vectorize import loops_are_slow, tree_index
from kd.teachers import reduction
from kd.train import convolving
from kd.types import PyTree, Teacher


class Stack(NamedTuple):
    """Members of one architecture with stacked variables, to evaluate them."""

    model: nn.Module
    variables: PyTree  # [m, ...]
    how: str  # over the members
    spread: Callable | None = None  # over devices, see `kd.devices.mesh.shard_members`

    def convolves(self, image: Any) -> bool:
        """Whether the networks have convolutions; `image` [1, ...] may be a shape."""
        return convolving.convolves(*self._member(), image)

    def slow_in_loops(self, image: Any, convolutions: str) -> bool:
        """See `kd.devices.vectorize.loops_are_slow`."""
        return loops_are_slow(*self._member(), image, convolutions=convolutions)

    def _member(self) -> tuple[Callable, PyTree]:
        """The forward pass of a member, and the shapes of its variables."""
        member = jax.eval_shape(lambda members: tree_index(members, 0), self.variables)
        return lambda v, x: self.model.apply(v, x, train=False), member


class RunTeacher(NamedTuple):
    """A teacher for the step, its arrays, and what a run records of it.

    Attributes:
      teacher: for `kd.step.make_step`.
      frozen: its arrays that never change, `frozen["teacher"]`: variables or cached logits.
      stacks: networks of finished runs, one entry for each group.
      member_weights: of all members of all groups, of sum one.
      paired: whether student i learns from member i alone.
      per_student: whether `frozen` has a leading axis of students.
      lifted_weights: weights of the members by group where the objective is lifted, see
        `kd.build.make_objective`.
      origin: entry `teacher` of `result.json`.
      student_variables: see `kd.teachers.kind.Kind`.
      reduce: of the members, see `kd.teachers.reduction`.
      evaluated: logits [m, n, c] of the members on the evaluated split, where a file has them.
      external: whether the student's own run stores the members' logits on the evaluated split:
        they come from no run, or from one that saw other images.
    """

    teacher: Teacher
    frozen: PyTree
    stacks: tuple[Stack, ...] = ()
    member_weights: tuple[float, ...] = ()
    paired: bool = False
    per_student: bool = False
    lifted_weights: tuple[Sequence[float] | None, ...] = ()
    origin: dict[str, Any] | None = None
    student_variables: Callable[[PyTree], PyTree] | None = None
    reduce: str = "probs"
    evaluated: np.ndarray | None = None
    external: bool = False

    @property
    def spread(self) -> bool:
        """Whether members are spread over the devices."""
        return any(stack.spread for stack in self.stacks)


def combined(
    run_teacher: RunTeacher, singles: Sequence[Teacher], sizes: Sequence[int]
) -> RunTeacher:
    """The teacher of all members of all groups, from those of single members, one for each group.

    Its `frozen` is left as it is: the step takes one member's array for one member or pairs, the
    stack of the only group, or a tuple of the groups' stacks.
    """
    if run_teacher.paired or sum(sizes) == 1:
        return run_teacher._replace(teacher=singles[0])
    reduce, weights, stacks = run_teacher.reduce, run_teacher.member_weights, run_teacher.stacks
    if reduction.find(reduce).lifts:
        run_teacher = run_teacher._replace(lifted_weights=by_group(weights, sizes))
    if len(stacks) == 1:
        how, spread = stacks[0].how, stacks[0].spread
        return run_teacher._replace(
            teacher=teachers.ensemble(singles[0], reduce, how, spread, weights)
        )
    pairs = zip(singles, stacks, strict=True)
    members = [teachers.Group(single, stack.how, stack.spread) for single, stack in pairs]
    return run_teacher._replace(teacher=teachers.grouped(members, reduce, weights))


def by_group(weights: Sequence[float], sizes: Sequence[int]) -> tuple[Sequence[float] | None, ...]:
    """The members' weights by group; None for equal weights in a single group."""
    if len(sizes) == 1 and len(set(weights)) == 1:
        return (None,)
    ends = accumulate(sizes)
    return tuple(tuple(weights[end - n : end]) for end, n in zip(ends, sizes, strict=True))
