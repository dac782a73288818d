"""Where arrays live: the mesh of devices, and the constraint that splits each batch over it.

One device is the mesh (1, 1): one code path. Under `jit` BatchNorm's mean over a split batch is the mean over the whole.
"""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kd.errors import InputError
from kd.types import Batch


def make_mesh(teacher: int = 1, data: int = 1) -> Mesh:
    """A mesh ("teacher", "data") of the first teacher * data devices. Raises InputError where there are fewer."""
    devices = jax.devices()
    if teacher < 1 or data < 1 or teacher * data > len(devices):
        raise InputError(
            f"config.devices: a mesh of teacher={teacher} x data={data} needs {teacher * data} devices, "
            f"here are {len(devices)} ({devices[0].platform})."
        )
    grid = np.asarray(devices[: teacher * data]).reshape(teacher, data)
    return Mesh(grid, ("teacher", "data"), axis_types=(AxisType.Auto,) * 2)


def everywhere(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, P())


def split_batch(mesh: Mesh, batch_size: int) -> Callable[[Batch], Batch]:
    """A constraint that splits the examples of a batch over all devices.

    A short last batch that does not divide stays whole on each device, with the same result.
    """
    if batch_size % mesh.size:
        return lambda batch: batch
    examples = NamedSharding(mesh, P(("data", "teacher")))

    def place(batch: Batch) -> Batch:
        return {
            name: value
            if value.ndim == 0
            else jax.lax.with_sharding_constraint(value, examples)
            for name, value in batch.items()
        }

    return place
