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


def ema(model: nn.Module, decay: float = 0.999) -> Teacher:
    """The mean of the student's own weights over its updates. `frozen["teacher"]` is `()`; the mean is in the state.

    Tarvainen, Valpola. Mean teachers are better role models. NeurIPS 2017. https://arxiv.org/abs/1703.01780, Eq. 2: after update
    t the mean moves by 1 - min(decay, 1 - 1 / (t + 1)) of its way to the student. So it is the plain mean of all weights so far
    until 1 - 1 / (t + 1) reaches `decay`, as in the authors' code, and does not remember the first ones for long.

    BatchNorm's statistics are averaged as the parameters are. It predicts in evaluation mode, on the view that the student sees;
    in the paper its dropout and augmentation are drawn anew.
    """

    def apply(weights: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del weights
        return model.apply(state["mean"], batch["image"], train=False)  # pyrefly: ignore

    def init(student: PyTree) -> PyTree:
        # Copies: the step donates both.
        mean = jax.tree.map(jnp.copy, student)
        return {"mean": mean, "updates": jnp.zeros((), jnp.int32)}

    def update(state: PyTree, student: PyTree) -> PyTree:
        updates = state["updates"] + 1
        keep = jnp.minimum(decay, 1 - 1 / (updates + 1))

        def move(mean: jax.Array, own: jax.Array) -> jax.Array:
            if not jnp.issubdtype(own.dtype, jnp.floating):
                return own
            return (keep * mean + (1 - keep) * own).astype(own.dtype)

        return {"mean": jax.tree.map(move, state["mean"], student), "updates": updates}

    return Teacher(apply, init, update)


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
