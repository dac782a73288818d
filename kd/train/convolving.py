"""Whose convolutions the programs of a run take, see `kd.convolutions`."""

import sys
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh

from kd.config import ConfigDict
from kd.convolutions import library
from kd.convolutions.lowering import ONEDNN, XLA
from kd.devices import processes
from kd.devices.options import convolution_groups
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


def convolves(model: nn.Module, variables: PyTree, image: Any) -> bool:
    """Whether a network has convolutions; arguments may be shapes."""
    forward = lambda v, x: model.apply(v, x, train=False)
    return bool(convolution_groups(jax.make_jaxpr(forward)(variables, image).jaxpr))
