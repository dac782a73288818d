"""The same updates under `jax.pmap`, for those who build on it; `jax.jit` on a mesh is the default,
see `kd.devices.mesh`.

JAX keeps pmap in maintenance mode and builds it on jit and shard_map. Under it a device sees its
own examples alone, and nothing is global that is not made so by name: see `axis_name` of
`kd.step.make_step`. Weights are whole on each device. Dropout draws for each device by itself, so
that a run with it is another run than under jit.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from kd.types import Batch

AXIS = "data"
"""Name of the mapped axis."""


def own_share(mesh: Mesh, batch_size: int) -> Callable[[Batch], Batch]:
    """Takes this device's examples out of a batch of `batch_size`; to be called in what `compiled`
    compiles.
    """
    size = batch_size // mesh.size

    def own(batch: Batch) -> Batch:
        first = jax.lax.axis_index(AXIS) * size
        cut = lambda value: jax.lax.dynamic_slice_in_dim(value, first, size)
        return {k: cut(value) if value.ndim else value for k, value in batch.items()}

    return own


def compiled(mesh: Mesh) -> Callable[[Callable], Callable]:
    """`compile(f)`: `f(states, *rest)` on each device of the mesh, with equal arguments and
    results; it donates the states.

    Arguments and results are whole arrays with a copy on each device, as the jitted updates have
    them.
    """

    def compile(f: Callable) -> Callable:
        def one(number: jax.Array, states: Any, rest: tuple) -> Any:
            del number  # pmap wants something to map over
            return f(states, *rest)

        mapped = jax.pmap(
            one,
            axis_name=AXIS,
            in_axes=(0, None, None),
            out_axes=None,
            devices=list(mesh.devices.flat),
            donate_argnums=1,
        )
        return lambda states, *rest: mapped(jnp.arange(mesh.size), states, rest)

    return compile
