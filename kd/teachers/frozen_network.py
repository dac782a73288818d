"""Trained networks whose weights do not change.

    config.teacher = dict(run="runs/big", input=dict())

With `input` they see images as their run did, or as its keys say: see `kd.teachers.input_view`.
"""

from typing import Any

import flax.linen as nn

from kd.teachers.kind import Context, Kind
from kd.types import Batch, Outputs, PyTree, Teacher, outputs_of


def frozen(model: nn.Module) -> Teacher:
    """One trained network. `frozen["teacher"]` is its variables."""

    def apply(variables: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del state
        return outputs_of(model.apply(variables, batch["image"], train=False), model)

    return Teacher(apply)


def _make(context: Context, input: Any = None) -> Teacher:
    assert context.loaded is not None
    return context.loaded


KIND = Kind("frozen", _make, "networks of finished runs", needs_runs=True)
