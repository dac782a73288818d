"""Whose convolutions the programs of a run take, see `kd.convolutions`."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from kd.config import ConfigDict
from kd.convolutions import library
from kd.convolutions.lowering import ONEDNN, XLA
from kd.devices import processes
from kd.devices.options import convolution_groups
from kd.devices.vectorize import fastest_method, tree_index
from kd.errors import InputError
from kd.train import placement
from kd.types import PyTree


def check(config: ConfigDict) -> None:
    """Raises InputError if the config demands oneDNN's convolutions and they cannot be used."""
    if config.devices.convolutions == ONEDNN:
        choose(config, placement.make_mesh(config), True)


def choose(config: ConfigDict, mesh: Mesh, convolves: bool) -> str:
    """`xla` or `onednn`. Says on standard error why oneDNN is not used where it could be.

    Args:
      config: `devices` is read.
      mesh: of the run.
      convolves: whether its networks have convolutions.

    Raises:
      InputError: the config demands oneDNN, and it cannot be used.
    """
    setting = config.devices.convolutions
    if setting == XLA or jax.default_backend() != "cpu":
        return XLA
    if mesh.size > 1 and config.devices.transform == "jit" and config.devices.seeds == 1:
        if setting == ONEDNN:
            raise InputError(
                f"config.devices.convolutions = 'onednn': one program split over {mesh.size} "
                "devices takes XLA's convolutions. Leave it at 'auto', or give each device its own "
                "seeds (config.devices.seeds) or examples (config.devices.transform = 'pmap')."
            )
        return XLA
    if not convolves:
        return XLA
    try:
        library.load()
    except library.Unavailable as error:
        if setting == ONEDNN:
            raise InputError(f"config.devices.convolutions = 'onednn': {error}.") from error
        _say_once(f"convolutions are XLA's, which are slower than oneDNN's: {error}")
        return XLA
    return ONEDNN


_SAID: set[str] = set()


def _say_once(text: str) -> None:
    if text not in _SAID and processes.is_writer():
        _SAID.add(text)
        print(f"kd: {text}", file=sys.stderr, flush=True)


def convolves(forward: Callable, variables: PyTree, image: Any) -> bool:
    """Whether a network's forward pass has convolutions; arguments may be shapes."""
    return bool(convolution_groups(jax.make_jaxpr(forward)(variables, image).jaxpr))


def over_members(
    config: ConfigDict, mesh: Mesh, model: nn.Module, stacked: PyTree, shape: Sequence[int]
) -> str:
    """How to go over the members of an ensemble: as the config says, or the fastest here.

    Args:
      config: `teacher.how` and `devices` are read.
      mesh: of the run.
      model: of the members.
      stacked: their variables [m, ...].
      shape: of an image.
    """
    if config.teacher.how != "auto":
        return config.teacher.how
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    member = jax.eval_shape(lambda members: tree_index(members, 0), stacked)
    forward = jax.jit(lambda v, x: model.apply(v, x, train=False))  # traced once
    convolutions = choose(config, mesh, convolves(forward, member, image))
    return fastest_method(forward, member, image, convolutions=convolutions)
