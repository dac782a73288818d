"""The host loop: dispatches, evaluations, records and checkpoints, in an order that a kill cannot
spoil.
"""

import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd.devices import processes
from kd.errors import RunError
from kd.runs.checkpoint import Checkpoints
from kd.runs.progress import Progress
from kd.runs.record import Record
from kd.train.plan import Call, Plan
from kd.types import DistillState, PyTree


class Stopped(BaseException):
    """The run was asked to stop, its state is saved, and it can go on. No error: what takes those
    for its own lets it pass.
    """


@contextmanager
def stopped_by_signal() -> Generator[None]:
    """SIGTERM raises Stopped wherever it comes; within `train` it is a `StopRequest`, which saves
    first.

    What is written outside of training is written whole or not at all, so that it may stop
    anywhere.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped("stopped outside of training")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopRequest:
    """Context in which SIGTERM is a request, heard at the next dispatch, rather than the end."""

    def __init__(self) -> None:
        self.made = False

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.made = True

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)


def train(
    state: DistillState,
    plan: Plan,
    updates: Mapping[int, Callable],
    order: Callable[[jax.Array], jax.Array],
    inputs: tuple[PyTree, dict[str, jax.Array]],
    evaluate: Callable[[DistillState], dict[str, list[float]]],
    record: Record,
    checkpoints: Checkpoints,
    progress: Progress,
    *,
    split: str = "test",
    eval_every: int = 1,
    save_seconds: float = 30.0,
) -> DistillState:
    """Runs what is left of the plan and returns the final state, saved.

    Args:
      state: stacked over seeds, at any point of the plan.
      plan: the grid of dispatches.
      updates: for each batch size the compiled function of `kd.train.program.make_updates`; it may
        donate the state.
      order: the compiled order of examples of an epoch, int [] -> [s, n].
      inputs: `frozen` and `data`, as the updates take them.
      evaluate: metrics of a state on the evaluated split, a list over seeds of each.
      record, checkpoints, progress: where it tells and saves.
      split: name of the evaluated split in the record.
      eval_every: epochs between evaluations; the last epoch always has one.
      save_seconds: least time between two checkpoints.

    Raises:
      RunError: a loss that is not finite. The newest checkpoint is of a step before it.
      Stopped: SIGTERM came; the state is saved.
    """
    frozen, data = inputs
    step = int(np.max(jax.device_get(state.step)))
    pending: tuple[Call, Any] | None = None
    saved, saved_at = step, time.monotonic()
    current, indices = -1, None

    def settle() -> None:
        """Records the newest dispatch, which by now has ended or is waited for."""
        nonlocal pending
        if pending is not None:
            call, logs = pending
            pending = None
            _record(call, jax.device_get(logs), record, progress)

    with StopRequest() as stop:
        for call in plan.calls(step):
            if call.epoch != current:
                current, indices = call.epoch, order(jnp.int32(call.epoch))
            numbers = (jnp.int32(n) for n in (call.epoch, call.start, call.count))
            state, logs = updates[call.batch_size](state, frozen, data, indices, *numbers)
            settle()  # the dispatch before, while the device is busy with this one
            pending = call, logs
            step = call.step + call.count
            done = call.epoch + 1
            if call.ends_epoch and (done % eval_every == 0 or done == plan.epochs):
                settle()
                values = evaluate(state)
                record.row(split, step, call.epoch, values)
                progress.update(step, **{f"{split} accuracy": _mean(values["accuracy"])})
            late = time.monotonic() - saved_at >= save_seconds
            late, stopped = processes.any_of(late, stop.made)
            if late or stopped or step == plan.steps:
                settle()  # raises on a loss that is not finite: such a state is never saved
                record.flush()
                checkpoints.save(state, step)
                saved, saved_at = step, time.monotonic()
            if stopped:  # at the last step, too: others may wait for this run's end
                checkpoints.wait()
                raise Stopped(f"stopped at step {saved} of {plan.steps}, saved")
        checkpoints.wait()
    return state


def _mean(values: Any) -> float:
    return float(np.mean(values))


def _record(call: Call, logs: dict[str, np.ndarray], record: Record, progress: Progress) -> None:
    """A row with the mean of each metric over the dispatch. Raises RunError at the first loss that
    is not finite.
    """
    logs = {name: values[:, : call.count] for name, values in logs.items()}
    finite = np.isfinite(logs["loss"]) & np.isfinite(logs["grad_norm"])
    bad = np.argwhere(~finite.T)
    if len(bad):
        update, seed = bad[0]
        terms = ", ".join(f"{k} {v[seed, update]:.4g}" for k, v in logs.items())
        raise RunError(
            f"the loss or its gradient is not finite for seed {seed} at step "
            f"{call.step + update + 1}: {terms}. The last checkpoint is of an earlier step. Lower "
            "the learning rate or clip the gradient (config.optimizer.clip_norm)."
        )
    step = call.step + call.count
    means = {k: [float(x) for x in v.mean(axis=1, dtype=np.float64)] for k, v in logs.items()}
    record.row("train", step, call.epoch, {"updates": call.count, **means})
    progress.update(step, loss=_mean(means["loss"]), accuracy=_mean(means["accuracy"]))
