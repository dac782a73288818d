"""How a run is computed where its config leaves that open: over seeds, over updates, and by whose
convolutions.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from kd.config import ConfigDict
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.devices.vectorize import fastest_method, loops_are_slow
from kd.train import convolving
from kd.train.run_teacher import RunTeacher
from kd.types import DistillState


class Choices(NamedTuple):
    """How a run is computed; results are equal up to rounding."""

    how: str  # over seeds: vmap, map or unroll
    loop: str  # over updates: device or host
    convolutions: str  # xla or onednn
    unroll: bool  # whether the parts of a batch are written out, see `kd.accumulation`


def choose(
    config: ConfigDict,
    student: nn.Module,
    teacher: RunTeacher,
    shapes: DistillState,
    dataset: Dataset,
    mesh: Mesh,
) -> Choices:
    """As the config says, or the fastest here.

    Raises:
      InputError: the config demands oneDNN, and it cannot be used.
    """
    image = jax.ShapeDtypeStruct((1, *dataset.train.image.shape[1:]), jnp.float32)
    variables = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), shapes.student)
    forward = jax.jit(lambda v, x: student.apply(v, x, train=False))  # traced once
    of_student = convolving.convolves(forward, variables, image)
    of_teacher = any(stack.convolves(image) for stack in teacher.stacks)
    convolutions = convolving.choose(config, mesh, of_student or of_teacher)
    how, loop = config.seeds_how, config.loop
    if how == "auto":
        how = fastest_method(forward, variables, image, convolutions=convolutions)
    slow = (loop == "auto" or config.accumulate > 1) and (
        loops_are_slow(forward, variables, image, convolutions=convolutions)
        or (
            not config.teacher.cache
            and any(stack.slow_in_loops(image, convolutions) for stack in teacher.stacks)
        )
    )
    if loop == "auto":
        loop = "host" if slow else "device"
    if isinstance(dataset.train.image, Pictures):
        loop = "host"
    return Choices(how, loop, convolutions, slow and loop == "host")
