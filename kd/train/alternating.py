"""Alternating updates of a cohort's peers: Algorithm 1 of deep mutual learning."""

import dataclasses
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from kd.models.peers import peers
from kd.step import Step
from kd.types import Batch, DistillState, PyTree, Teacher


def alternate(step: Step, model: nn.Module, teacher: Teacher) -> Step:
    """The step of a cohort with `alternate`: its peers are updated one after the other.

    Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. CVPR 2018. https://arxiv.org/abs/1706.00384,
    Algorithm 1: a peer learns from the peers before it after their updates on the same batch. Each
    turn evaluates all peers and keeps the update of one: its parameters, statistics and optimizer
    state. What the peers share (the step and so the learning rate; the objective's parameters and
    memory) is updated once, in the last turn. Metrics are means over the turns. Any other student's
    step is returned as it is.
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
    """`old` with one peer's part of `new`, and in the last turn with the shared part of `new`."""

    def leaf(path: tuple[Any, ...], before: jax.Array, after: jax.Array) -> jax.Array:
        keys = [str(e.key) for e in path if isinstance(e, jax.tree_util.DictKey)]
        owner = next((k for k in keys if k in ("student", "objective")), "")
        if owner != "student":
            return after if last else before
        return cast(Any, model).take(tuple(keys), before, after, peer)

    return jax.tree_util.tree_map_with_path(leaf, old, new)
