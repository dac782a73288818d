"""Teachers: where the target outputs come from. Each is three pure functions, see
`kd.types.Teacher`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kd.devices.vectorize import map_stacked, tree_index
from kd.errors import unknown
from kd.teachers.codec import decode
from kd.teachers.reduction import REDUCE, reduce_members
from kd.types import Batch, Outputs, PyTree, Teacher


def none() -> Teacher:
    """No teacher: the student learns from labels alone. `frozen["teacher"]` is `()`."""
    return Teacher(lambda *_: None)


def frozen(model: nn.Module) -> Teacher:
    """One trained network. `frozen["teacher"]` is its variables."""

    def apply(weights: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del state
        return model.apply(weights, batch["image"], train=False)  # pyrefly: ignore

    return Teacher(apply)


def cached(num_classes: int) -> Teacher:
    """One trained network that was asked before. `frozen["teacher"]` are its logits on the training
    images in each of w epochs of augmentation, which repeat: arrays [w, n, ...] as
    `kd.teachers.codec` stores them. It has no features.
    """

    def apply(stored: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del state
        epochs = jax.tree.leaves(stored)[0].shape[0]
        epoch = jnp.asarray(batch["epoch"]) % epochs
        at = jax.tree.map(lambda x: x[epoch, batch["index"]], stored)
        return Outputs(decode(at, num_classes))

    return Teacher(apply)


def ema(model: nn.Module, decay: float = 0.999) -> Teacher:
    """The mean of the student's own weights over its updates. `frozen["teacher"]` is `()`; the mean
    is in the state.

    Tarvainen, Valpola. Mean teachers are better role models. NeurIPS 2017.
    https://arxiv.org/abs/1703.01780, Eq. 2: after update t the mean moves by 1 - min(decay, 1 - 1 /
    (t + 1)) of its way to the student. So it is the plain mean of all weights so far until 1 - 1 /
    (t + 1) reaches `decay`, as in the authors' code, and does not remember the first ones for long.

    BatchNorm's statistics are averaged as the parameters are. It predicts in evaluation mode, on
    the view that the student sees; in the paper its dropout and augmentation are drawn anew.
    """

    def apply(weights: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del weights
        return model.apply(state["mean"], batch["image"], train=False)  # pyrefly: ignore

    def init(student: PyTree) -> PyTree:
        # Copies: the step donates both.
        mean = jax.tree.map(jnp.copy, student)
        return {"mean": mean, "updates": jnp.zeros((), jnp.int32)}

    def update(state: PyTree, student: PyTree) -> PyTree:
        updates = state["updates"] + 1
        keep = jnp.minimum(decay, 1 - 1 / (updates + 1))

        def move(mean: jax.Array, own: jax.Array) -> jax.Array:
            if not jnp.issubdtype(own.dtype, jnp.floating):
                return own
            return (keep * mean + (1 - keep) * own).astype(own.dtype)

        return {"mean": jax.tree.map(move, state["mean"], student), "updates": updates}

    return Teacher(apply, init, update)


class Group(NamedTuple):
    """Members of one architecture, of whose variables a stack [m, ...] is given.

    Attributes:
      member: the architecture, or a teacher of one such as `cached()`.
      how: vmap, map or unroll over the members, see `kd.devices.vectorize.map_stacked`.
      spread: makes `each(weights, state, batch) -> outputs [m, b, ...]` run on several devices, see
        `kd.devices.mesh.shard_members`.
    """

    member: nn.Module | Teacher
    how: str = "vmap"
    spread: Callable[[Callable], Callable] | None = None

    @property
    def one(self) -> Callable[[PyTree, PyTree, Batch], Outputs]:
        """`one(variables, state, batch) -> outputs [b, ...]` of a member."""
        member = self.member
        teacher = member if isinstance(member, Teacher) else frozen(member)
        return teacher.apply  # pyrefly: ignore

    @property
    def each(self) -> Callable[[PyTree, PyTree, Batch], Outputs]:
        """`each(stack, state, batch) -> outputs [m, b, ...]` of all members."""
        each = map_stacked(self.one, self.how, (0, None, None))
        return self.spread(each) if self.spread else each


def grouped(
    groups: Sequence[Group], reduce: str = "probs", weights: Sequence[float] | None = None
) -> Teacher:
    """Trained networks of several architectures. `frozen["teacher"]` is a tuple with a stack of
    variables [m, ...] for each group.

    Args:
      groups: one for each architecture.
      reduce: `probs`, the mean of the members' probabilities at the objective's temperature;
        `logits`, the mean of their logits; `each`, a tuple with the outputs of each group's members
        side by side, for `kd.objective.PerGroup`; `random`, the logits of one member, drawn for the
        update; `confidence`, the mean of their probabilities, weighted by how near each member is
        to the label of each example (`kd.teachers.reduction.confidence`).
      weights: what each member counts, or how often it is drawn, over all groups, of sum one; None:
        all the same.
    """
    if reduce not in REDUCE:
        raise unknown("reduction of an ensemble", reduce, REDUCE)

    def apply(stacks: PyTree, state: PyTree, batch: Batch) -> Any:
        sizes = [jax.tree.leaves(stack)[0].shape[0] for stack in stacks]
        counts = (1 / sum(sizes),) * sum(sizes) if weights is None else weights
        share = jnp.asarray(counts, jnp.float32)
        if reduce == "random":
            drawn = jax.random.categorical(batch["key"], jnp.log(share))
            return Outputs(_drawn(groups, sizes, drawn, stacks, state, batch))
        outputs = _all(groups, stacks, state, batch)
        if reduce == "each":
            return outputs
        logits = jnp.concatenate([one.logits for one in outputs])
        return reduce_members(reduce, logits, share, batch.get("label"))

    return Teacher(apply)


def _all(
    groups: Sequence[Group], stacks: PyTree, state: PyTree, batch: Batch
) -> tuple[Outputs, ...]:
    return tuple(
        group.each(stack, state, batch) for group, stack in zip(groups, stacks, strict=True)
    )


def _drawn(
    groups: Sequence[Group],
    sizes: Sequence[int],
    drawn: Int[Array, ""],
    stacks: PyTree,
    state: PyTree,
    batch: Batch,
) -> Float[Array, "b c"]:
    """Logits of one member of all. No other is computed, but where members live on devices of their
    own, or students run side by side under vmap and draw from several groups.
    """
    if any(group.spread for group in groups):
        outputs = _all(groups, stacks, state, batch)
        return jnp.concatenate([one.logits for one in outputs])[drawn]
    group_of = jnp.asarray(np.repeat(np.arange(len(sizes)), sizes))
    place = jnp.concatenate([jnp.arange(size) for size in sizes])

    def branch(group: Group, stack: PyTree) -> Callable[[Array], Array]:
        one = lambda i: group.one(tree_index(stack, i), state, batch).logits
        return lambda i: one(i).astype(jnp.float32)

    branches = [branch(*pair) for pair in zip(groups, stacks, strict=True)]
    return jax.lax.switch(group_of[drawn], branches, place[drawn])


def ensemble(
    model: nn.Module | Teacher,
    reduce: str = "probs",
    how: str = "vmap",
    spread: Callable[[Callable], Callable] | None = None,
    weights: Sequence[float] | None = None,
) -> Teacher:
    """m trained networks of one architecture: `grouped` of one group, whose stack of variables
    `frozen["teacher"]` is.

    With `reduce` `each` its outputs are [m, b, ...], for `kd.objective.PerTeacher`.
    """
    several = grouped((Group(model, how, spread),), reduce, weights)

    def apply(stack: PyTree, state: PyTree, batch: Batch) -> Any:
        target = several.apply((stack,), state, batch)
        return target[0] if isinstance(target, tuple) else target

    return Teacher(apply)


def stack(members: list[PyTree]) -> PyTree:
    """Variables of m networks of one architecture, stacked on a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
