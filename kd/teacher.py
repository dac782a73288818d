"""Teachers: where the target outputs come from. Each is three pure functions, see `kd.types.Teacher`."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from kd.errors import unknown
from kd.transform import over
from kd.types import Batch, Mixture, Outputs, PyTree, Teacher

REDUCE = ("probs", "logits", "each")


def none() -> Teacher:
    """No teacher: the student learns from labels alone. `frozen["teacher"]` is `()`."""
    return Teacher(lambda *_: None)


def frozen(model: nn.Module) -> Teacher:
    """One trained network. `frozen["teacher"]` is its variables."""

    def apply(weights: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del state
        return model.apply(weights, batch["image"], train=False)  # pyrefly: ignore

    return Teacher(apply)


def cached() -> Teacher:
    """One trained network that was asked once. `frozen["teacher"]` is its logits on the training images, [n, c].

    It sees each image as it is, whatever the student sees: the same only where nothing is augmented. It has no features.
    """

    def apply(logits: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del state
        return Outputs(logits[batch["index"]])

    return Teacher(apply)


def ensemble(
    model: nn.Module | Teacher,
    reduce: str = "probs",
    how: str = "vmap",
    spread: Callable[[Callable], Callable] | None = None,
) -> Teacher:
    """m trained networks of one architecture. `frozen["teacher"]` is their variables, stacked on a leading axis.

    Args:
      model: the architecture, or a teacher of one such as `cached()`, whose `frozen["teacher"]` are then stacked.
      reduce: `probs`, the mean of the members' probabilities at the objective's temperature; `logits`, the mean of their
        logits; `each`, the m outputs side by side, for `kd.objective.PerTeacher`.
      how: vmap, map or unroll, see `kd.transform.over`.
      spread: makes `each(weights, state, batch) -> outputs [m, b, ...]` run on several devices, see `kd.sharding.spread`.
    """
    if reduce not in REDUCE:
        raise unknown("reduction of an ensemble", reduce, REDUCE)
    member = (model if isinstance(model, Teacher) else frozen(model)).apply
    each = over(member, how, (0, None, None))
    each = spread(each) if spread else each

    def apply(weights: PyTree, state: PyTree, batch: Batch) -> Outputs | Mixture:
        outputs = each(weights, state, batch)
        m = outputs.logits.shape[0]
        if reduce == "each":
            return outputs
        if reduce == "logits":
            return Outputs(jnp.mean(outputs.logits.astype(jnp.float32), axis=0))
        return Mixture(outputs.logits, jnp.full((m,), 1 / m))

    return Teacher(apply)


def stack(members: list[PyTree]) -> PyTree:
    """Variables of m networks of one architecture, stacked on a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
