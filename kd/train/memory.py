"""Training without a run directory: rows are kept in memory, nothing is saved."""

import time
from collections.abc import Mapping
from typing import Any

from kd import signals
from kd.runs.progress import Progress
from kd.train.loop import train
from kd.train.setup import Setup
from kd.types import DistillState


class Memory:
    """Stands in for a run's record, checkpoints and progress."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._start = time.monotonic()

    def row(self, kind: str, step: int, epoch: int, values: Mapping[str, Any]) -> None:
        """Keeps a row, in the format of `metrics.jsonl`."""
        seconds = round(time.monotonic() - self._start, 3)
        self.rows.append({"kind": kind, "step": step, "epoch": epoch, "seconds": seconds, **values})

    def flush(self) -> None: ...

    def save(self, state: DistillState, step: int) -> None: ...

    def wait(self) -> None: ...

    def update(self, step: int, **values: float) -> None: ...

    def close(self) -> None: ...


def train_in_memory(setup: Setup, progress: bool) -> tuple[DistillState, list[dict[str, Any]]]:
    """The trained state, and a row for each dispatch and evaluation.

    Args:
      setup: of the training.
      progress: whether progress is printed to standard error.

    Raises:
      RunError: a loss is not finite.
    """
    memory = Memory()
    plan = setup.plan
    shown: Any = memory
    if progress:
        shown = Progress(
            "distill",
            plan.steps,
            0,
            steps_per_epoch=plan.steps_per_epoch,
            seeds=setup.config.seeds,
        )
    try:
        state = train(
            setup.init(),
            plan,
            setup.updates,
            setup.order,
            setup.inputs,
            setup.evaluation,
            memory,
            memory,
            shown,
            split=setup.split,
            eval_every=setup.config.eval_every,
            save_seconds=float("inf"),
        )
    except signals.Stopped:
        signals.stop("stopped; a training in memory is not kept")
    finally:
        shown.close()
        setup.close()
    return state, memory.rows
