"""The mesh of devices ("teacher", "data"), and how batches and ensembles are split over it.

The members of an ensemble are split over the axis "teacher", the batch over "data": device (i, j)
evaluates its members on its part of the batch. Then the devices exchange outputs (`shard_members`),
and the student trains data-parallel on all devices. All of it is one compiled program. One device
is the mesh (1, 1). Under `jit`, BatchNorm's mean over a split batch is the mean over the full
batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from kd.devices import options
from kd.errors import InputError
from kd.types import Batch, PyTree

ALL = ("data", "teacher")
"""Both axes, in the order in which examples are split over them: first over "data", each part then
over "teacher".
"""

type MembersApply = Callable[[PyTree, PyTree, Batch], Any]
"""`apply(weights [m, ...], state, batch) -> outputs`, whose arrays are [m, b, ...]."""


def make_mesh(teacher: int = 1, data: int = 1) -> Mesh:
    """The mesh ("teacher", "data") of the first teacher * data devices.

    Args:
      teacher: parts that the members of an ensemble are split into.
      data: parts that a batch is split into for the teacher.

    Raises:
      InputError: there are fewer devices, or several processes whose devices would not all take
        part.
    """
    devices = jax.devices()
    if teacher < 1 or data < 1 or teacher * data > len(devices):
        raise InputError(
            f"config.devices: a mesh of teacher={teacher} x data={data} needs {teacher * data} "
            f"devices, this machine has {len(devices)} ({devices[0].platform})."
        )
    if jax.process_count() > 1 and teacher * data != len(devices):
        raise InputError(
            f"config.devices: {jax.process_count()} processes have {len(devices)} devices, all of "
            f"which must be used: teacher={teacher} x data={data} is {teacher * data}."
        )
    return mesh_of(devices[: teacher * data], teacher)


def mesh_of(devices: Sequence[Any], teacher: int) -> Mesh:
    """The mesh ("teacher", "data") of these devices, with `teacher` devices on the first axis.

    Devices along "teacher" are neighbours, so that outputs are exchanged within a process and each
    process holds one contiguous part of a batch.
    """
    grid = np.asarray(devices).reshape(-1, teacher).T
    return Mesh(grid, ("teacher", "data"), axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array with a full copy on each device."""
    return NamedSharding(mesh, P())


def to_devices(tree: PyTree, sharding: Sharding) -> PyTree:
    """Puts the arrays of a tree, of NumPy or JAX, on the devices of a sharding.

    Devices may belong to other processes; all processes must call this with equal arrays.
    """

    def put(x: Any) -> jax.Array:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return jax.jit(lambda x: x, out_shardings=sharding)(x)
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(put, tree)


def shapes_on(shapes: PyTree, sharding: Sharding) -> PyTree:
    """Shapes of arrays on the devices of a sharding.

    A program traced on them is not traced again on such arrays: a sharding is part of their type.
    """
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def to_host(x: Any) -> np.ndarray:
    """The full array as NumPy, even if other processes hold parts of it."""
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        if isinstance(x.sharding, NamedSharding) and not x.is_fully_replicated:
            full_copies = NamedSharding(x.sharding.mesh, P())
            x = jax.jit(lambda x: x, out_shardings=full_copies)(x)
        return np.asarray(x.addressable_data(0))
    return np.asarray(jax.device_get(x))


def member_sharding(mesh: Mesh, count: int, whose: str = "the teacher") -> NamedSharding:
    """The sharding of arrays [m, ...] of `count` members, split over "teacher".

    Raises:
      InputError: the members cannot be split evenly; `whose` says in the message whose they are.
    """
    teacher = mesh.shape["teacher"]
    if count % teacher:
        raise InputError(
            f"config.devices.teacher = {teacher}: the {count} members of {whose} cannot be split "
            f"evenly over {teacher} devices. Expected a divisor of {count}."
        )
    return NamedSharding(mesh, P("teacher"))


def check_batch(mesh: Mesh, batch_size: int, accumulate: int = 1) -> None:
    """Raises InputError if a batch, or a part of it, cannot be split evenly over the devices."""
    if mesh.size > 1 and batch_size % (accumulate * mesh.size):
        teacher, data = mesh.shape["teacher"], mesh.shape["data"]
        parts = f" in config.accumulate = {accumulate} parts" if accumulate > 1 else ""
        raise InputError(
            f"config.batch_size = {batch_size}{parts} cannot be split evenly over the {mesh.size} "
            f"devices of config.devices (teacher={teacher} x data={data}). Expected a multiple of "
            f"{accumulate * mesh.size}."
        )


def compiler(mesh: Mesh) -> Callable[[Callable], jax.stages.Wrapped]:
    """Makes `compile(f)`: `f(states, *rest)` jitted, with replicated results; donates `states`."""
    return lambda f: options.jit(f, donate_argnums=0, out_shardings=replicated(mesh))


def split_batch(
    mesh: Mesh, batch_size: int, axes: tuple[str, ...] = ALL
) -> Callable[[Batch], Batch]:
    """Makes a function that constrains the examples of a batch to be split over these axes, by
    default over all devices.

    A short last batch that cannot be split evenly is replicated, with the same result.
    """
    if batch_size % mesh.size:
        return lambda batch: batch
    examples = NamedSharding(mesh, P(axes))

    def constrain(batch: Batch) -> Batch:
        return {
            name: value if value.ndim == 0 else jax.lax.with_sharding_constraint(value, examples)
            for name, value in batch.items()
        }

    return constrain


def image_sharding(mesh: Mesh, batch_size: int) -> NamedSharding:
    """The sharding of streamed images [s, b, h, w, c]: examples are split over all devices, or
    replicated if they cannot be split evenly.
    """
    divides = batch_size % mesh.size == 0
    return NamedSharding(mesh, P(None, ALL) if divides else P())


def shard_members(mesh: Mesh) -> Callable[[MembersApply], MembersApply]:
    """Makes a transformation that evaluates an ensemble on all devices of the mesh.

    Members are split over "teacher" and examples over "data" during evaluation; afterwards each
    device holds the outputs of all members for its own examples, which are split over both axes.

    The exchange is an all-to-all over "teacher". It is the cheapest that is possible, since only
    the objective knows the temperature, weights or losses of the reduction. With one member per
    device it moves as many bytes as a reduce-scatter of probabilities would; and logits can be
    averaged as log probabilities, which do not underflow as a probability at T = 1 may. A batch
    that cannot be split evenly over the devices is not split, and its outputs stay split over
    "teacher".
    """

    def distribute(apply: MembersApply) -> MembersApply:
        def on_all_devices(weights: PyTree, state: PyTree, batch: Batch) -> Any:
            split = batch["image"].shape[0] % mesh.size == 0
            examples = {
                name: P("data") if split and value.ndim else P() for name, value in batch.items()
            }

            def on_one_device(weights: PyTree, state: PyTree, batch: Batch) -> Any:
                outputs = apply(weights, state, batch)
                return jax.tree.map(_exchange, outputs) if split else outputs

            return jax.shard_map(
                on_one_device,
                mesh=mesh,
                in_specs=(P("teacher"), P(), examples),
                out_specs=P(None, ALL) if split else P("teacher"),
            )(weights, state, batch)

        return on_all_devices

    return (lambda apply: apply) if mesh.size == 1 else distribute


def _exchange(x: jax.Array) -> jax.Array:
    """Some members' outputs [m / t, b / d, ...] to all members' [m, b / (d t), ...], per device."""
    return jax.lax.all_to_all(x, "teacher", split_axis=1, concat_axis=0, tiled=True)
