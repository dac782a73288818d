"""Updates under `jax.pmap`, for those who build on it; the default is `jax.jit` on a mesh, see
`kd.devices.mesh`.

JAX keeps pmap in maintenance mode and builds it on jit and shard_map. A device sees only its own
examples, and nothing is shared between devices that is not shared by name: see `axis_name` of
`kd.step.make_step`. Weights are replicated. Each device draws its own dropout, so a run with pmap
differs from the same run with jit.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from kd.types import Batch

AXIS = "data"
"""Name of the mapped axis."""


def local_batch(mesh: Mesh, batch_size: int) -> Callable[[Batch], Batch]:
    """Makes a function that takes this device's examples out of a batch of `batch_size`.

    It works only within a function compiled by `compiler`.
    """
    size = batch_size // mesh.size

    def take(batch: Batch) -> Batch:
        first = jax.lax.axis_index(AXIS) * size
        cut = lambda value: jax.lax.dynamic_slice_in_dim(value, first, size)
        return {k: cut(value) if value.ndim else value for k, value in batch.items()}

    return take


def compiler(mesh: Mesh) -> Callable[[Callable], Callable]:
    """Makes `compile(f)`: `f(states, *rest)` runs on each device of the mesh and donates `states`.

    Arguments and results are full arrays with a copy on each device, as those of the jitted
    updates; all devices get equal arguments and return equal results.
    """

    def compile(f: Callable) -> Callable:
        def on_one_device(number: jax.Array, states: Any, rest: tuple) -> Any:
            del number  # pmap needs an argument to map over
            return f(states, *rest)

        mapped = jax.pmap(
            on_one_device,
            axis_name=AXIS,
            in_axes=(0, None, None),
            out_axes=None,
            devices=list(mesh.devices.flat),
            donate_argnums=1,
        )
        return lambda states, *rest: mapped(jnp.arange(mesh.size), states, rest)

    return compile


def shared_moments(axis_name: str | None) -> AbstractContextManager:
    """Context in which BatchNorm layers average the moments of a batch over a mapped axis.

    It sets the attribute `axis_name` of every module that has running moments and no axis yet: kd's
    BatchNorm and Flax's.

    Args:
      axis_name: the mapped axis; None changes nothing.
    """
    if axis_name is None:
        return nullcontext()

    def intercept(method: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        module = context.module
        # LayerNorm and its kin have an `axis_name`, too, but no momentum: they normalise within one
        # example.
        if hasattr(module, "momentum") and getattr(module, "axis_name", "") is None:
            object.__setattr__(module, "axis_name", axis_name)
        return method(*args, **kwargs)

    return nn.intercept_methods(intercept)
