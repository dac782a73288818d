"""Where arrays live: the mesh of devices ("teacher", "data"), and how batches and members of an
ensemble are split over it.

The members of an ensemble are spread over "teacher", what they look at over "data": device (i, j)
runs its share of the members on its share of the batch. Then the outputs change hands (`spread`),
and the student trains data-parallel on all devices. All of it is one compiled program. One device
is the mesh (1, 1). Under `jit` BatchNorm's mean over a split batch is the mean over the whole.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from kd.errors import InputError
from kd.types import Batch, PyTree

ALL = ("data", "teacher")
"""Both axes, in the order in which examples are split over them: a split over "data", split on over
"teacher".
"""

type Each = Callable[[PyTree, PyTree, Batch], Any]
"""`each(weights [m, ...], state, batch) -> outputs`, whose arrays are [m, b, ...]."""


def make_mesh(teacher: int = 1, data: int = 1) -> Mesh:
    """A mesh ("teacher", "data") of the first teacher * data devices. Raises InputError where there
    are fewer.
    """
    devices = jax.devices()
    if teacher < 1 or data < 1 or teacher * data > len(devices):
        raise InputError(
            f"config.devices: a mesh of teacher={teacher} x data={data} needs {teacher * data} "
            f"devices, here are {len(devices)} ({devices[0].platform})."
        )
    if jax.process_count() > 1 and teacher * data != len(devices):
        raise InputError(
            f"config.devices: {jax.process_count()} processes have {len(devices)} devices, all of "
            f"which must take part: teacher={teacher} x data={data} is {teacher * data}."
        )
    return mesh_of(devices[: teacher * data], teacher)


def mesh_of(devices: Sequence[Any], teacher: int) -> Mesh:
    """The mesh of these devices, `teacher` times as many as there are parts of a batch.

    Members are side by side, so that their outputs change hands within a process; so each process
    has one stretch of a batch.
    """
    grid = np.asarray(devices).reshape(-1, teacher).T
    return Mesh(grid, ("teacher", "data"), axis_types=(AxisType.Auto,) * 2)


def everywhere(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, P())


def put(tree: PyTree, where: Sharding) -> PyTree:
    """The arrays of a tree, of NumPy or JAX, on the devices, also where some belong to other
    processes, which have equal ones.
    """

    def one(x: Any) -> jax.Array:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return jax.jit(lambda x: x, out_shardings=where)(x)
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(one(jax.random.key_data(x)))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, where, lambda part: host[part])

    if where.is_fully_addressable:
        return jax.device_put(tree, where)
    return jax.tree.map(one, tree)


def fetch(x: Any) -> np.ndarray:
    """An array on the host, whole, also where other processes have parts of it."""
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        if isinstance(x.sharding, NamedSharding) and not x.is_fully_replicated:
            whole = NamedSharding(x.sharding.mesh, P())
            x = jax.jit(lambda x: x, out_shardings=whole)(x)
        return np.asarray(x.addressable_data(0))
    return np.asarray(jax.device_get(x))


def members(mesh: Mesh, count: int, whose: str = "the teacher") -> NamedSharding:
    """Arrays [m, ...] of `count` members, each with its own part of the devices. Raises InputError
    where they do not divide.
    """
    teacher = mesh.shape["teacher"]
    if count % teacher:
        raise InputError(
            f"config.devices.teacher = {teacher}: the {count} members of {whose} do not divide "
            f"among as many. Expected a divisor of {count}."
        )
    return NamedSharding(mesh, P("teacher"))


def check_batch(mesh: Mesh, batch_size: int) -> None:
    """Raises InputError where a batch does not divide among the devices."""
    if batch_size % mesh.size:
        teacher, data = mesh.shape["teacher"], mesh.shape["data"]
        raise InputError(
            f"config.batch_size = {batch_size} does not divide among the {mesh.size} devices of "
            f"config.devices (teacher={teacher} x data={data}). Expected a multiple of {mesh.size}."
        )


def compiled(mesh: Mesh) -> Callable[[Callable], jax.stages.Wrapped]:
    """`compile(f)`: `f(states, *rest)` jitted, its results whole on each device; it donates the
    states.
    """
    return lambda f: jax.jit(f, donate_argnums=0, out_shardings=everywhere(mesh))


def split_batch(
    mesh: Mesh, batch_size: int, axes: tuple[str, ...] = ALL
) -> Callable[[Batch], Batch]:
    """A constraint that splits the examples of a batch over these axes, by default over all
    devices.

    A short last batch that does not divide stays whole on each device, with the same result.
    """
    if batch_size % mesh.size:
        return lambda batch: batch
    examples = NamedSharding(mesh, P(axes))

    def place(batch: Batch) -> Batch:
        return {
            name: value if value.ndim == 0 else jax.lax.with_sharding_constraint(value, examples)
            for name, value in batch.items()
        }

    return place


def pictures(mesh: Mesh, batch_size: int) -> NamedSharding:
    """Where pictures [s, b, h, w, c] that come from outside go: each device has its own of a batch
    that divides, else all.
    """
    divides = batch_size % mesh.size == 0
    return NamedSharding(mesh, P(None, ALL) if divides else P())


def spread(mesh: Mesh) -> Callable[[Each], Each]:
    """`each` on all devices: members over "teacher", examples over "data", then examples over both
    and members together.

    The exchange is an all-to-all over "teacher", after which a device has every member's outputs
    for its own examples: the least that a reduction can do with whose temperature, weights or
    losses only the objective knows. With a member a device it moves as many bytes as a
    reduce-scatter of probabilities would; and logits can be averaged as log probabilities, of which
    none is too small for a float, as a probability at T = 1 may be. A batch that does not divide
    among the devices is not split, and its outputs stay where their members are.
    """

    def on_all(each: Each) -> Each:
        def apply(weights: PyTree, state: PyTree, batch: Batch) -> Any:
            split = batch["image"].shape[0] % mesh.size == 0
            examples = {
                name: P("data") if split and value.ndim else P() for name, value in batch.items()
            }

            def local(weights: PyTree, state: PyTree, batch: Batch) -> Any:
                outputs = each(weights, state, batch)
                return jax.tree.map(_exchange, outputs) if split else outputs

            return jax.shard_map(
                local,
                mesh=mesh,
                in_specs=(P("teacher"), P(), examples),
                out_specs=P(None, ALL) if split else P("teacher"),
            )(weights, state, batch)

        return apply

    return (lambda each: each) if mesh.size == 1 else on_all


def _exchange(x: jax.Array) -> jax.Array:
    """[m / t, b / d, ...] of some members to [m, b / (d t), ...] of all, on each device."""
    return jax.lax.all_to_all(x, "teacher", split_axis=1, concat_axis=0, tiled=True)
