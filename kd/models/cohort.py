"""Cohorts: several students as one module that learn from one another (`kd.objectives.mutual`).

`kd.models.peers` describes how training and evaluation use such a module.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from kd.errors import InputError
from kd.models import layers
from kd.models.wrapped import make
from kd.ranges import Classes, Range
from kd.types import Outputs, PyTree, outputs_of


class Cohort(nn.Module):
    """Students of one architecture, each with its own weights, evaluated by `vmap`.

    On a CPU, where `vmap` over the weights of a convolution is slow, a `MixedCohort` of equal
    members is the same and faster.

    Attributes:
      member: section of a network, such as `{"name": "cnn.CNN", "widths": (8, 16)}`.
      num_classes: c.
      size: k, number of peers.
      alternate: whether the peers are updated one after the other on each batch, see
        `kd.train.alternating.alternate`.

    Returns:
      Outputs with a leading axis of peers: logits [k, b, c], the member's features [k, b, ...].
    """

    member: Mapping[str, Any]
    num_classes: Classes
    size: Annotated[int, Range(2, 1024)] = 2
    alternate: bool = False

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        _check(self.size)
        lifted = nn.vmap(
            lambda module, image: module(image, train),
            in_axes=None,
            axis_size=self.size,
            variable_axes={True: 0},
            split_rngs={True: True},
        )
        member = _peer(self.member, self.num_classes, name="member")
        return dataclasses.replace(outputs_of(lifted(member, image)), peers=self.size)

    def peers(self) -> tuple[nn.Module, ...]:
        """The peers as separate networks."""
        return (_peer(self.member, self.num_classes, parent=None),) * self.size

    def variables_of(self, variables: PyTree, peer: int) -> PyTree:
        """Variables of one peer, out of the cohort's."""
        return {
            name: jax.tree.map(lambda x: x[peer], tree["member"])
            for name, tree in variables.items()
        }

    def take(self, path: tuple[str, ...], old: Array, new: Array, peer: int) -> Array:
        """The leaf `old` of the cohort's variables, with the entry of one peer from `new`."""
        del path
        return old.at[peer].set(new[peer])


class MixedCohort(nn.Module):
    """Students of several architectures, or of one without `vmap`. Only their logits are stacked.

    Attributes:
      members: sections of networks.
      num_classes: c.
      alternate: see `Cohort`.

    Returns:
      Outputs with a leading axis of peers, logits [k, b, c], and no features.
    """

    members: Sequence[Mapping[str, Any]]
    num_classes: Classes
    alternate: bool = False

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        _check(len(self.members))
        nets = [
            _peer(section, self.num_classes, name=f"member{i}")
            for i, section in enumerate(self.members)
        ]
        logits = jnp.stack([outputs_of(net(image, train)).logits for net in nets])
        return Outputs(logits, peers=len(nets))

    def peers(self) -> tuple[nn.Module, ...]:
        """The peers as separate networks."""
        make = lambda section: _peer(section, self.num_classes, parent=None)
        return tuple(make(section) for section in self.members)

    def variables_of(self, variables: PyTree, peer: int) -> PyTree:
        """Variables of one peer, out of the cohort's."""
        name = f"member{peer}"
        return {kind: tree[name] for kind, tree in variables.items() if name in tree}

    def take(self, path: tuple[str, ...], old: Array, new: Array, peer: int) -> Array:
        """The leaf of the cohort's variables: `new` if it belongs to this peer, else `old`."""
        return new if f"member{peer}" in path else old


def _peer(section: Mapping[str, Any], num_classes: int, **flax: Any) -> nn.Module:
    name = section.get("name", "")
    if name.partition(".")[0] == "cohort":
        raise InputError(f"config.student: the peers of a cohort must be networks, not {name}.")
    return make(section, num_classes, "peer", **flax)


def _check(size: int) -> None:
    if size < 2:
        raise InputError(f"config.student: a cohort needs two peers or more, not {size}.")
