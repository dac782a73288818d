"""Trained networks whose weights do not change."""

import flax.linen as nn

from kd.teachers.kind import Context, Kind
from kd.types import Batch, Outputs, PyTree, Teacher, outputs_of


def frozen(model: nn.Module) -> Teacher:
    """One trained network. `frozen["teacher"]` is its variables."""

    def apply(variables: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del state
        return outputs_of(model.apply(variables, batch["image"], train=False), model)

    return Teacher(apply)


def _make(context: Context) -> Teacher:
    assert context.loaded is not None
    return context.loaded


KIND = Kind("frozen", _make, "networks of finished runs", needs_runs=True)
