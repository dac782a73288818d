"""What a network must take and return, checked on shapes before a run starts."""

from collections.abc import Callable
from typing import Any

from kd import registry
from kd.errors import InputError
from kd.types import Outputs


def check_maker(maker: Callable, name: str) -> None:
    """Raises InputError unless a class or function takes the setting `num_classes`."""
    keywords = registry.keywords_of(maker)
    if keywords is not None and "num_classes" not in keywords:
        raise InputError(
            f"config.student: the network {name} takes no setting num_classes, which says how many "
            f"classes the data have; it takes: {', '.join(keywords) or 'none'}. Add it."
        )


def check_outputs(outputs: Any, examples: int, num_classes: int, name: str) -> None:
    """Raises InputError unless a network returned `Outputs` with logits [b, c], or [k, b, c] for a
    cohort of k peers.

    Args:
      outputs: what the network called `name` returned; shapes in place of arrays will do.
      examples: b, the number of images that it was given.
      num_classes: c.
      name: as in the config.
    """
    if not isinstance(outputs, Outputs):
        kind = "an array" if hasattr(outputs, "shape") else type(outputs).__name__
        raise InputError(
            f"config.student: the network {name} returns {kind}; expected "
            "kd.types.Outputs(logits, features)."
        )
    shape = tuple(outputs.logits.shape)
    if shape[-2:] != (examples, num_classes):
        raise InputError(
            f"config.student: the network {name} returns logits of shape {list(shape)} for "
            f"{examples} images of {num_classes} classes; expected [{examples}, {num_classes}]. "
            "Take the number of classes from its setting num_classes."
        )
