"""The record of a run while it runs: `metrics.jsonl`, TensorBoard when asked, and what a person
sees.
"""

import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from kd.runs.workdir import Workdir


class Record:
    """Appends rows to `metrics.jsonl`; a resumed run first drops the rows after its checkpoint, so
    each step is there once.

    A row is `{"kind": "train" | "test" | "validation", "step", "epoch", "seconds", metric: [a value
    for each seed]}`.
    """

    def __init__(self, workdir: Workdir, step: int, tensorboard: bool = False, writes: bool = True):
        self._file: TextIO
        self._sync: Callable[[], Any]
        self._start, self._before = time.monotonic(), 0.0
        self._file, self._sync, self._board = io.StringIO(), lambda: None, None
        if not writes:  # another process does
            return
        rows = [row for row in read_rows(workdir) if row["step"] <= step]
        self._before = rows[-1]["seconds"] if rows else 0.0
        text = "".join(json.dumps(row) + "\n" for row in rows)
        temporary = workdir.path / ".metrics.jsonl.part"
        temporary.write_text(text)
        temporary.replace(workdir.metrics)
        if "://" in str(workdir):  # nothing is appended in a bucket
            memory = self._file = io.StringIO()
            memory.write(text)
            self._sync = lambda: workdir.metrics.write_text(memory.getvalue())
        else:
            file = self._file = open(os.fspath(workdir.metrics), "a")  # noqa: PTH123, SIM115
            self._sync = lambda: os.fsync(file.fileno())
        self._board = _board(workdir, step) if tensorboard else None

    @property
    def seconds(self) -> float:
        """Since the run began, over all its sessions."""
        return self._before + time.monotonic() - self._start

    def row(self, kind: str, step: int, epoch: int, values: Mapping[str, Any]) -> None:
        """Adds a row and mirrors it to TensorBoard."""
        head = {"kind": kind, "step": step, "epoch": epoch}
        seconds = {"seconds": round(self.seconds, 3)}
        self._file.write(json.dumps({**head, **seconds, **values}) + "\n")
        if self._board:
            for name, numbers in values.items():
                if isinstance(numbers, list):
                    mean = sum(numbers) / len(numbers)
                    self._board.add_scalar(f"{kind}/{name}", mean, step)

    def flush(self) -> None:
        """Returns when all rows are on disk: before each checkpoint, so that none is missing after
        a resume.
        """
        self._file.flush()
        self._sync()

    def close(self) -> None:
        self.flush()
        self._file.close()
        if self._board:
            self._board.close()


def read_rows(workdir: Workdir) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`, as far as they are whole: a kill may cut the last one."""
    rows = []
    if workdir.metrics.exists():
        for line in workdir.metrics.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
    return rows


def _board(workdir: Workdir, step: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        from kd.errors import InputError

        raise InputError(
            "config.tensorboard needs the extra: pip install 'kd[tensorboard]'."
        ) from None
    return SummaryWriter(os.fspath(workdir.path / "tensorboard"), purge_step=step + 1)


class Progress:
    """Steps, loss, accuracy and the time to go: a bar on a terminal, a plain line now and then
    elsewhere.
    """

    def __init__(
        self, name: str, total: int, step: int, stream: TextIO | None = None, every: float = 10.0
    ):
        self._stream = stream or sys.stderr
        self._name, self._total, self._step, self._every = name, total, step, every
        self._start, self._first, self._told = time.monotonic(), step, time.monotonic()
        self._shown: dict[str, str] = {}
        self._bar = None
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=step,
                desc=name,
                unit="step",
                file=self._stream,
                dynamic_ncols=True,
            )

    def update(self, step: int, **values: float) -> None:
        """Tells of `step` done and the newest values; a value that is not given stays."""
        self._shown |= {k: f"{v:.4g}" for k, v in values.items() if math.isfinite(v)}
        if self._bar is not None:
            self._bar.set_postfix(self._shown, refresh=False)
            self._bar.update(step - self._step)
        self._step = step
        if self._bar is None and time.monotonic() - self._told > self._every:
            self._line()

    def _line(self) -> None:
        self._told = now = time.monotonic()
        done = self._step - self._first
        eta = (now - self._start) / max(done, 1) * (self._total - self._step)
        values = " ".join(f"{k} {v}" for k, v in self._shown.items())
        print(
            f"{self._name}: step {self._step}/{self._total} {values} eta {eta:.0f} s",
            file=self._stream,
            flush=True,
        )

    def close(self) -> None:
        """Leaves the last values on the screen."""
        if self._bar is None:
            self._line()
        else:
            self._bar.close()
