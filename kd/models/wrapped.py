"""A network inside another: made from its section of a config, and without one of its layers."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn

from kd import registry


def make(section: Mapping[str, Any], num_classes: int, role: str, **flax: Any) -> nn.Module:
    """The network of a section, a child of the module being called, or on its own with
    parent=None.
    """
    name = section.get("name", "")
    settings = {k: v for k, v in section.items() if k != "name"}
    maker = partial(registry.find("kd.models", name), **flax)
    return registry.make(maker, {**settings, "num_classes": num_classes}, f"{role} {name}")


def without(net: nn.Module, layer: str) -> Any:
    """An interceptor that passes by the child `layer` of a network: it has no parameters, and gives
    what it is given.
    """

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path == (*net.path, layer):
            return args[0]
        return call(*args, **kwargs)

    return intercept
