"""Ensembles: trained networks with stacked variables, of one architecture or several."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kd.devices.vectorize import map_stacked, tree_index
from kd.teachers import reduction
from kd.teachers.frozen_network import frozen
from kd.types import Batch, Outputs, PyTree, Teacher


class Group(NamedTuple):
    """Members of one architecture; their variables are a stack [m, ...].

    Attributes:
      member: the architecture, or a teacher of one network such as `cached()`.
      how: vmap, map or unroll over the members, see `kd.devices.vectorize.map_stacked`.
      spread: runs `apply(stack, state, batch) -> outputs [m, b, ...]` on several devices, see
        `kd.devices.mesh.shard_members`.
    """

    member: nn.Module | Teacher
    how: str = "vmap"
    spread: Callable[[Callable], Callable] | None = None

    @property
    def apply_one(self) -> Callable[[PyTree, PyTree, Batch], Outputs]:
        """`apply(variables, state, batch) -> outputs [b, ...]` of one member."""
        member = self.member
        teacher = member if isinstance(member, Teacher) else frozen(member)
        return teacher.apply  # pyrefly: ignore

    @property
    def apply_all(self) -> Callable[[PyTree, PyTree, Batch], Outputs]:
        """`apply(stack, state, batch) -> outputs [m, b, ...]` of all members."""
        apply = map_stacked(self.apply_one, self.how, (0, None, None))
        return self.spread(apply) if self.spread else apply


def grouped(
    groups: Sequence[Group],
    reduce: str | reduction.Reduction = "probs",
    weights: Sequence[float] | None = None,
) -> Teacher:
    """Trained networks of several architectures.

    `frozen["teacher"]` is a tuple with a stack of variables [m, ...] for each group.

    Args:
      groups: one for each architecture.
      reduce: `probs`, the mean of the members' probabilities at the objective's temperature;
        `logits`, the mean of their logits; `each`, a tuple with the stacked outputs of each group,
        for `kd.objective.PerGroup`; `random`, the logits of one member, drawn for each update;
        `confidence`, the mean of their probabilities, weighted for each example by how near each
        member is to the label; a dotted path or a `kd.teachers.reduction.Reduction`.
      weights: of the members over all groups, of sum one; for `random` their probabilities. None:
        equal.

    Raises:
      InputError: no such reduction.
    """
    reducer = reduction.find(reduce)

    def apply(stacks: PyTree, state: PyTree, batch: Batch) -> Any:
        sizes = [jax.tree.leaves(stack)[0].shape[0] for stack in stacks]
        equal = (1 / sum(sizes),) * sum(sizes)
        member_weights = jnp.asarray(equal if weights is None else weights, jnp.float32)
        if reducer.draws:
            drawn = jax.random.categorical(batch["key"], jnp.log(member_weights))
            return Outputs(_drawn(groups, sizes, drawn, stacks, state, batch))
        outputs = _all(groups, stacks, state, batch)
        if reducer.lifts:
            return outputs
        logits = jnp.concatenate([group.logits for group in outputs])
        return reducer(logits, member_weights, batch.get("label"))

    stored = any(isinstance(g.member, Teacher) and g.member.stored for g in groups)
    return Teacher(apply, stored=stored)


def _all(
    groups: Sequence[Group], stacks: PyTree, state: PyTree, batch: Batch
) -> tuple[Outputs, ...]:
    return tuple(
        group.apply_all(stack, state, batch) for group, stack in zip(groups, stacks, strict=True)
    )


def _drawn(
    groups: Sequence[Group],
    sizes: Sequence[int],
    drawn: Int[Array, ""],
    stacks: PyTree,
    state: PyTree,
    batch: Batch,
) -> Float[Array, "b c"]:
    """Logits of the drawn member.

    Only this member is evaluated, except where members are spread over devices, or where students
    run side by side under vmap and draw from several groups.
    """
    if any(group.spread for group in groups):
        outputs = _all(groups, stacks, state, batch)
        return jnp.concatenate([group.logits for group in outputs])[drawn]
    group_of = jnp.asarray(np.repeat(np.arange(len(sizes)), sizes))
    place = jnp.concatenate([jnp.arange(size) for size in sizes])

    def branch(group: Group, stack: PyTree) -> Callable[[Array], Array]:
        one = lambda i: group.apply_one(tree_index(stack, i), state, batch).logits
        return lambda i: one(i).astype(jnp.float32)

    branches = [branch(*pair) for pair in zip(groups, stacks, strict=True)]
    return jax.lax.switch(group_of[drawn], branches, place[drawn])


def ensemble(
    model: nn.Module | Teacher,
    reduce: str | reduction.Reduction = "probs",
    how: str = "vmap",
    spread: Callable[[Callable], Callable] | None = None,
    weights: Sequence[float] | None = None,
) -> Teacher:
    """Trained networks of one architecture: `grouped` with one group.

    `frozen["teacher"]` is the stack of their variables [m, ...]. With `reduce` `each` the outputs
    are [m, b, ...], for `kd.objective.PerTeacher`.
    """
    teacher = grouped((Group(model, how, spread),), reduce, weights)

    def apply(stack: PyTree, state: PyTree, batch: Batch) -> Any:
        target = teacher.apply((stack,), state, batch)
        return target[0] if isinstance(target, tuple) else target

    return Teacher(apply, stored=teacher.stored)


def stack(members: list[PyTree]) -> PyTree:
    """Variables of m networks of one architecture, stacked on a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
