"""The networks of a student: the peers of a cohort, or the one network that it is.

A module is a cohort if it has the methods `peers`, `variables_of` and `take`, as those of
`kd.models.cohort`. Any other module is one network, its own only peer.
"""

from collections.abc import Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kd.types import PyTree


def peers(model: nn.Module) -> tuple[nn.Module, ...]:
    """The networks of a student, [k]."""
    return cast(Any, model).peers() if hasattr(model, "peers") else (model,)


def variables_of(model: nn.Module, variables: PyTree, peer: int) -> PyTree:
    """Variables of one peer, out of the student's. Works on shapes under `jax.eval_shape`."""
    if not hasattr(model, "peers"):
        return variables
    return cast(Any, model).variables_of(variables, peer)


def stacked(model: nn.Module, variables: PyTree, chosen: Sequence[int]) -> PyTree:
    """Variables of chosen networks of a run, stacked [m, ...].

    Args:
      model: the student.
      variables: those of the students of all seeds, stacked [s, ...].
      chosen: m numbers of networks of one architecture. Network i is peer i modulo k of seed i //
        k.
    """
    k = len(peers(model))
    if k == 1:
        return jax.tree.map(lambda x: x[np.asarray(chosen)], variables)
    of = lambda i: variables_of(model, jax.tree.map(lambda x: x[i // k], variables), i % k)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(of, chosen))
