"""The host loop: dispatches, evaluations, records and checkpoints, safe against a kill anywhere."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from kd import signals
from kd.devices import processes
from kd.errors import RunError
from kd.train.plan import Call, Plan
from kd.types import DistillState, PyTree


@runtime_checkable
class Rows(Protocol):
    """Where metrics go: `kd.runs.record.Record`, or memory."""

    def row(self, kind: str, step: int, epoch: int, values: Mapping[str, Any]) -> None: ...

    def flush(self) -> None: ...


@runtime_checkable
class Saves(Protocol):
    """Where states go: `kd.runs.checkpoint.Checkpoints`, or nowhere."""

    def save(self, state: DistillState, step: int) -> None: ...

    def wait(self) -> None: ...


@runtime_checkable
class Shows(Protocol):
    """What a person sees: `kd.runs.progress.Progress`."""

    def update(self, step: int, **values: float) -> None: ...


def train(
    state: DistillState,
    plan: Plan,
    updates: Mapping[int, Callable],
    order: Callable[[jax.Array], jax.Array],
    inputs: tuple[PyTree, dict[str, jax.Array]],
    evaluate: Callable[[DistillState], dict[str, list[float]]],
    record: Rows,
    checkpoints: Saves,
    progress: Shows,
    *,
    split: str = "test",
    eval_every: int = 1,
    save_seconds: float = 30.0,
) -> DistillState:
    """Runs the rest of the plan and returns the final state, saved.

    Args:
      state: stacked over seeds, at any point of the plan.
      plan: the grid of dispatches.
      updates: by batch size, the compiled function of `kd.train.program.make_updates`; it may
        donate the state.
      order: the compiled order of examples of an epoch, int [] -> [s, n].
      inputs: `frozen` and `data`, as the updates take them.
      evaluate: metrics of a state on the evaluated split, a list over seeds of each.
      record: takes a row for each dispatch and each evaluation.
      checkpoints: takes the state from time to time.
      progress: takes the newest values.
      split: name of the evaluated split in the record.
      eval_every: epochs between evaluations; the last epoch always has one.
      save_seconds: least time between two checkpoints.

    Raises:
      RunError: a loss is not finite. The newest checkpoint is of an earlier step.
      kd.signals.Stopped: a signal came; the state is saved.
    """
    frozen, data = inputs
    step = int(np.max(jax.device_get(state.step)))
    pending: tuple[Call, Any] | None = None
    saved, saved_at = step, time.monotonic()
    epoch, indices = -1, None

    def settle() -> None:
        """Records the newest dispatch, waiting for its end."""
        nonlocal pending
        if pending is not None:
            call, logs = pending
            pending = None
            _record(call, jax.device_get(logs), record, progress)

    with signals.saving():
        for call in plan.calls(step):
            if call.epoch != epoch:
                epoch, indices = call.epoch, order(jnp.int32(call.epoch))
            numbers = (jnp.int32(n) for n in (call.epoch, call.start, call.count))
            state, logs = updates[call.batch_size](state, frozen, data, indices, *numbers)
            settle()  # the previous dispatch, while the device is busy with this one
            pending = call, logs
            step = call.step + call.count
            epochs = call.epoch + 1
            if call.ends_epoch and (epochs % eval_every == 0 or epochs == plan.epochs):
                settle()
                values = evaluate(state)
                record.row(split, step, call.epoch, values)
                name = "held-out" if split == "validation" else split
                progress.update(step, **{f"{name} accuracy": _mean(values["accuracy"])})
            late = time.monotonic() - saved_at >= save_seconds
            late, stopped = processes.any_of(late, signals.requested())
            if late or stopped or step == plan.steps:
                settle()  # raises if a loss is not finite: such a state is never saved
                record.flush()
                checkpoints.save(state, step)
                saved, saved_at = step, time.monotonic()
            if stopped:  # at the last step, too: others may wait for the end of this run
                checkpoints.wait()
                signals.stop(f"stopped at step {saved} of {plan.steps}, saved")
        checkpoints.wait()
    return state


def _mean(values: Any) -> float:
    return float(np.mean(values))


def _mean_of_updates(values: np.ndarray) -> list[float]:
    """The mean of each seed over updates, [s, u] to [s], without those that have no value (NaN)."""
    return [float(x[~np.isnan(x)].mean(dtype=np.float64)) for x in values]


def _record(call: Call, logs: dict[str, np.ndarray], record: Rows, progress: Shows) -> None:
    """Adds a row with the mean of each metric over the dispatch.

    A batch without labels has no accuracy (NaN) and is left out of its mean. Where no batch of a
    seed has labels, the row has no accuracy.

    Raises RunError at the first loss that is not finite.
    """
    logs = {name: values[:, : call.count] for name, values in logs.items()}
    finite = np.isfinite(logs["loss"]) & np.isfinite(logs["grad_norm"])
    bad = np.argwhere(~finite.T)
    if len(bad):
        update, seed = bad[0]
        terms = ", ".join(f"{k} {v[seed, update]:z.4g}" for k, v in logs.items())
        raise RunError(
            f"the loss or its gradient is not finite for seed {seed} at step "
            f"{call.step + update + 1}: {terms}. The last checkpoint is of an earlier step. Lower "
            "the learning rate or clip the gradient (config.optimizer.clip_norm)."
        )
    step = call.step + call.count
    means = {k: _mean_of_updates(v) for k, v in logs.items() if not np.isnan(v).all(axis=1).any()}
    record.row("train", step, call.epoch, {"updates": call.count, **means})
    shown = {f"train {k}": _mean(means[k]) for k in ("loss", "accuracy") if k in means}
    progress.update(step, **shown)
