"""The record of a run while it trains: `metrics.jsonl`, and TensorBoard if the config asks."""

import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from kd import extras
from kd.errors import InputError
from kd.files.parsers import parse_json
from kd.files.writing import refusals, replacing
from kd.runs.update_time import UpdateTime
from kd.runs.workdir import Workdir


class Record:
    """Appends rows to `metrics.jsonl`.

    A row is `{"kind": "train" | "test" | "validation", "step", "epoch", "seconds", metric: [a value
    for each seed]}`. A resumed run first drops the rows after its checkpoint, so that no step
    occurs twice.

    Attributes:
      update_time: processor time of this session's updates.
    """

    def __init__(self, workdir: Workdir, step: int, tensorboard: bool = False, writes: bool = True):
        self._file: TextIO
        self._sync: Callable[[], Any]
        self._start, self._before = time.monotonic(), 0.0
        self._file, self._sync, self._board = io.StringIO(), lambda: None, None
        self._path, self._check = workdir.metrics, workdir.check_lock
        self.update_time = UpdateTime()
        if not writes:  # another process writes
            return
        rows = [row for row in read_rows(workdir) if row["step"] <= step]
        self._before = rows[-1]["seconds"] if rows else 0.0
        text = "".join(json.dumps(row) + "\n" for row in rows)
        with replacing(self._path) as temporary:
            temporary.write_text(text)
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
        """Seconds since the run began, over all its sessions."""
        return self._before + time.monotonic() - self._start

    def row(self, kind: str, step: int, epoch: int, values: Mapping[str, Any]) -> None:
        """Adds a row and mirrors it to TensorBoard."""
        self.update_time.add(int(values["updates"]) if kind == "train" else 0)
        head = {"kind": kind, "step": step, "epoch": epoch}
        seconds = {"seconds": round(self.seconds, 3)}
        with refusals(self._path):
            self._file.write(json.dumps({**head, **seconds, **values}) + "\n")
        if self._board:
            for name, numbers in values.items():
                if isinstance(numbers, list):
                    mean = sum(numbers) / len(numbers)
                    self._board.add_scalar(f"{kind}/{name}", mean, step)

    def flush(self) -> None:
        """Returns when all rows are on disk.

        Called before each checkpoint, so that no row is missing after a resume.
        """
        self._check()
        with refusals(self._path):
            self._file.flush()
            self._sync()

    def close(self) -> None:
        """Flushes and closes the files."""
        try:
            self.flush()
        finally:
            with contextlib.suppress(OSError):  # it flushes once more
                self._file.close()
            if self._board:
                self._board.close()


def read_rows(workdir: Workdir) -> list[dict[str, Any]]:
    """The complete rows of `metrics.jsonl`: a kill may have cut the last one.

    Raises:
      InputError: a complete line is no row: the file was damaged later.
    """
    rows: list[dict[str, Any]] = []
    if not workdir.metrics.exists():
        return rows
    lines = workdir.metrics.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_checked(parse_json(line)))
        except ValueError as error:
            if number == len(lines):  # without the end of a line
                break
            raise InputError(
                f"{workdir.metrics} is damaged in line {number}: {error}. Bring the file back, or "
                "remove that line."
            ) from error
    return rows


def _checked(row: Any) -> dict[str, Any]:
    """The row. Raises ValueError if it has not what every row has."""
    known = {"kind": str, "step": int, "epoch": int, "seconds": int | float}
    if not isinstance(row, dict) or not all(isinstance(row.get(k), t) for k, t in known.items()):
        raise ValueError(f"expected an object with {', '.join(known)}")
    return row


def _board(workdir: Workdir, step: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError(
            "config.tensorboard needs tensorboardX, which is not installed. Install the extra "
            f"'tensorboard': {extras.command('tensorboard')}"
        ) from None
    return SummaryWriter(os.fspath(workdir.path / "tensorboard"), purge_step=step + 1)
