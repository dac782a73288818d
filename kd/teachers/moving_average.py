"""Mean teacher: the moving average of the student's weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from kd.errors import InputError
from kd.ranges import Probability
from kd.teachers.kind import Context, Kind
from kd.types import Batch, Outputs, PyTree, Teacher, outputs_of


def ema(model: nn.Module, decay: float = 0.999) -> Teacher:
    """The mean of the student's weights over its updates, kept in the teacher's state.

    Tarvainen, Valpola. Mean teachers are better role models. NeurIPS 2017.
    https://arxiv.org/abs/1703.01780, Eq. 2: update t moves the mean by 1 - min(decay, 1 - 1 /
    (t + 1)) of its distance to the student. It is the plain mean of all weights until 1 - 1 /
    (t + 1) reaches `decay`, as in the authors' code, so that the first weights are soon forgotten.

    BatchNorm's statistics are averaged as the parameters are. The mean predicts in evaluation mode,
    on the view that the student sees; in the paper its dropout and augmentation are drawn anew.
    `frozen["teacher"]` is `()`.

    Args:
      model: the student's network.
      decay: in [0, 1).

    Raises:
      InputError: a decay out of range.
    """
    if not 0 <= decay < 1:
        raise InputError(f"config.teacher.decay: expected a number in [0, 1), got {decay}.")

    def apply(frozen: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del frozen
        return outputs_of(model.apply(state["mean"], batch["image"], train=False), model)

    def init(student: PyTree) -> PyTree:
        # Copies: the step donates both.
        mean = jax.tree.map(jnp.copy, student)
        return {"mean": mean, "updates": jnp.zeros((), jnp.int32)}

    def update(state: PyTree, student: PyTree) -> PyTree:
        updates = state["updates"] + 1
        keep = jnp.minimum(decay, 1 - 1 / (updates + 1))

        def move(mean: jax.Array, new: jax.Array) -> jax.Array:
            if not jnp.issubdtype(new.dtype, jnp.floating):
                return new
            return (keep * mean + (1 - keep) * new).astype(new.dtype)

        return {"mean": jax.tree.map(move, state["mean"], student), "updates": updates}

    return Teacher(apply, init, update)


def _make(context: Context, decay: Probability = 0.999) -> Teacher:
    return ema(context.student, decay)


KIND = Kind(
    "ema",
    _make,
    "the mean of the student's own weights over its updates",
    student_variables=lambda state: state["mean"],
    row="mean of its weights",
)
