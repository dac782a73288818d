"""A network as a part of another: built from its section, or without one of its layers."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn

from kd import registry
from kd.errors import InputError
from kd.models.contract import LINEN, check_maker, kind_of


def make(section: Mapping[str, Any], num_classes: int, role: str, **flax: Any) -> nn.Module:
    """The network of a section of a config.

    Args:
      section: `name` and settings, such as `{"name": "cnn.CNN", "widths": (8, 16)}`.
      num_classes: c.
      role: what the network is, in messages.
      **flax: `name` of the network as a child of the module being called, or `parent=None`.
    """
    name = section.get("name", "")
    settings = {k: v for k, v in section.items() if k != "name"}
    network_maker = registry.find("kd.models", name)
    check_maker(network_maker, name)
    maker = partial(network_maker, **flax)
    network = registry.make(maker, {**settings, "num_classes": num_classes}, f"{role} {name}")
    if not isinstance(network, nn.Module):
        raise InputError(f"{role} {name} must be a Flax linen module. {kind_of(network)} {LINEN}")
    return network


def without(net: nn.Module, layer: str) -> Any:
    """An interceptor that replaces the child `layer` of a network by the identity, without
    parameters.

    Raises:
      InputError: the network has a second head, which would stay.
    """
    second = getattr(net, "second_head", "")
    if second:
        name = type(net).__name__
        raise InputError(
            f"{name} has two heads, {layer} and {second}, and only a network with one can be the "
            "body of another. Take vit.ViT in its place, which has no distillation token."
        )

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path == (*net.path, layer):
            return args[0]
        return call(*args, **kwargs)

    return intercept
