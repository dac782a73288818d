"""Networks within networks: what a section of a config names, as a child of the module that has it in a setting."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn

from kd import build


def network(
    section: Mapping[str, Any], num_classes: int, role: str, **flax: Any
) -> nn.Module:
    """The network of a section, a child of the module being called, or on its own with parent=None.

    Args:
      section: `{"name": "wrn.wrn_16_2"}`, with its settings.
      num_classes: c.
      role: what to call it where something is wrong with it.
      **flax: `name` of the child, or `parent=None`.
    """
    name = section.get("name", "")
    settings = {k: v for k, v in section.items() if k != "name"}
    maker = partial(build.find("kd.models", name), **flax)
    return build.make(maker, {**settings, "num_classes": num_classes}, f"{role} {name}")
