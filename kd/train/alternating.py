"""Alternating updates of a cohort's peers: Algorithm 1 of deep mutual learning."""

import dataclasses
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from kd.models.peers import peers
from kd.step import Step
from kd.types import Batch, DistillState, PyTree, Teacher


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
