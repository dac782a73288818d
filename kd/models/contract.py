"""What a network must take and return, checked on shapes before a run starts."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kd import registry
from kd.errors import InputError


def check_maker(maker: Callable, name: str) -> None:
    """Raises InputError unless a class or function makes a network with a setting `num_classes`."""
    if inspect.isclass(maker) and not issubclass(maker, nn.Module):
        raise InputError(
            f"config.student: {name} is no Flax linen module. {kind_of(maker)} {LINEN}"
        )
    keywords = registry.keywords_of(maker)
    if keywords is not None and "num_classes" not in keywords:
        raise InputError(
            f"config.student: the network {name} takes no setting num_classes, which says how many "
            f"classes the data have; it takes: {', '.join(keywords) or 'none'}. Add it."
        )


LINEN = (
    "Expected a flax.linen.Module whose __call__(image, train=False) returns logits [b, c] or "
    "kd.types.Outputs(logits, features)."
)


def kind_of(network: Any) -> str:
    """A sentence on an object or class that is no linen module: what it is, and the way out."""
    cls = network if inspect.isclass(network) else type(network)
    libraries = {base.__module__.partition(".")[0] for base in cls.__mro__}
    name = f"{cls.__module__}.{cls.__qualname__}"
    if any(base.__module__.startswith("flax.nnx") for base in cls.__mro__):
        return f"{name} is a Flax nnx module: wrap it by flax.nnx.bridge.ToLinen."
    if "equinox" in libraries:
        return f"{name} is an Equinox module, whose weights kd cannot train: write it in linen."
    if "torch" in libraries:
        return f"{name} is a PyTorch module, whose weights kd cannot train: write it in linen."
    if inspect.isfunction(network) or inspect.ismethod(network):
        return f"{network.__qualname__} is a function, which has no weights to train."
    return f"It is {name}."


def name_of(network: Any) -> str:
    """The class of a network, of a user's own if it is adapted."""
    return type(getattr(network, "adapted", network)).__name__


def check_outputs(outputs: Any, examples: int, num_classes: int, name: str) -> None:
    """Raises InputError unless a network returned logits [b, c], or [k, b, c] for a cohort of k
    peers.

    Args:
      outputs: `Outputs` of the network called `name`; shapes in place of arrays will do.
      examples: b, the number of images that it was given.
      num_classes: c.
      name: as in the config.
    """
    shape, k = tuple(outputs.logits.shape), outputs.peers
    expected = (k, examples, num_classes) if k else (examples, num_classes)
    if shape != expected:
        remedy = "Take the number of classes from its setting num_classes."
        if len(shape) == 3 and not k:
            remedy = (
                "One row for each image: let its head read one token, or the mean of the tokens. "
                "Several students are a cohort, such as kd.models.Cohort."
            )
        raise InputError(
            f"config.student: the network {name} returns logits of shape {list(shape)} for "
            f"{examples} images of {num_classes} classes; expected {list(expected)}. {remedy}"
        )


def warn_of_probabilities(logits: Any, name: str) -> None:
    """Warns if the logits of a first batch are probabilities: every row >= 0 and of sum 1.

    Args:
      logits: float [..., b, c]; nothing is checked while they are traced.
      name: of the network.
    """
    if isinstance(logits, jax.core.Tracer) or logits.shape[-1] < 2:
        return
    rows = np.asarray(logits, np.float32)
    if rows.size and rows.min() >= 0 and np.allclose(rows.sum(-1), 1, atol=1e-3):
        warnings.warn(
            f"the network {name} returns probabilities: each row of its first batch is at least 0 "
            "and has the sum 1. kd takes logits, the values before the softmax. Leave its softmax "
            "out.",
            stacklevel=2,
        )
