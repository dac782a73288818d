"""A student that is several networks: what each of them is on its own, and updates that take them
in turn.

A module says that it is by the methods `peers`, `variables_of` and `take`, as those of
`kd.models.cohort` do. Everything else is one network, its own only peer.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kd.step import Step
from kd.types import Batch, DistillState, PyTree, Teacher


def peers(model: nn.Module) -> tuple[nn.Module, ...]:
    """The networks of a student."""
    return cast(Any, model).peers() if hasattr(model, "peers") else (model,)


def variables_of(model: nn.Module, variables: PyTree, peer: int) -> PyTree:
    """Variables of one of its networks, out of the student's. Works on shapes under
    `jax.eval_shape`.
    """
    if not hasattr(model, "peers"):
        return variables
    return cast(Any, model).variables_of(variables, peer)


def stacked(model: nn.Module, variables: PyTree, chosen: Sequence[int]) -> PyTree:
    """Variables of the chosen networks of a run, stacked [m, ...], out of those of its students,
    stacked over seeds.

    Network i is peer i modulo k of student i // k. All must be of one architecture.
    """
    k = len(peers(model))
    if k == 1:
        return jax.tree.map(lambda x: x[np.asarray(chosen)], variables)
    of = lambda i: variables_of(model, jax.tree.map(lambda x: x[i // k], variables), i % k)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(of, chosen))


def in_turns(step: Step, model: nn.Module, teacher: Teacher) -> Step:
    """`step` itself, or for a student with `alternate` the update of its peers one after the other
    on the same batch.

    Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. CVPR 2018. https://arxiv.org/abs/1706.00384,
    Algorithm 1: a peer learns from what those before it say after their updates. In each turn all
    peers are evaluated anew, and of the updated state what belongs to one peer is kept: its
    parameters, statistics and optimizer state. What they share (the count of updates, so the
    learning rate; the objective's own parameters and memory) moves once, with the last. Metrics are
    means over the turns.
    """
    if not getattr(model, "alternate", False):
        return step
    turns = len(peers(model))

    def update(
        state: DistillState, frozen: PyTree, batch: Batch
    ) -> tuple[DistillState, dict[str, jax.Array]]:
        before, logs = state.teacher, []
        for peer in range(turns):
            new, metrics = step(state, frozen, batch)
            state = _merged(model, state, new, peer, last=peer == turns - 1)
            logs.append(metrics)
        state = dataclasses.replace(state, teacher=teacher.update(before, state.student))
        return state, jax.tree.map(lambda *of: jnp.mean(jnp.stack(of), axis=0), *logs)

    return update


def _merged(
    model: nn.Module, old: DistillState, new: DistillState, peer: int, last: bool
) -> DistillState:
    """`old` with what belongs to one peer out of `new`, and with what all share where this turn is
    the last.
    """

    def leaf(path: tuple[Any, ...], before: jax.Array, after: jax.Array) -> jax.Array:
        keys = [str(e.key) for e in path if isinstance(e, jax.tree_util.DictKey)]
        owner = next((k for k in keys if k in ("student", "objective")), "")
        if owner != "student":
            return after if last else before
        return cast(Any, model).take(tuple(keys), before, after, peer)

    return jax.tree_util.tree_map_with_path(leaf, old, new)
