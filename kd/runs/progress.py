"""The progress of a run on the terminal: steps, loss, accuracy, time to go."""

import math
import sys
import time
from typing import TextIO


class Progress:
    """A progress bar on a terminal; elsewhere a plain line every few seconds."""

    def __init__(
        self, name: str, total: int, step: int, stream: TextIO | None = None, every: float = 10.0
    ):
        self._stream = stream or sys.stderr
        self._name, self._total, self._step, self._every = name, total, step, every
        self._start, self._first, self._printed = time.monotonic(), step, time.monotonic()
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
        """Shows `step` and the newest values; values that are left out stay."""
        self._shown |= {k: f"{v:z.4g}" for k, v in values.items() if math.isfinite(v)}
        if self._bar is not None:
            self._bar.set_postfix(self._shown, refresh=False)
            self._bar.update(step - self._step)
        self._step = step
        if self._bar is None and time.monotonic() - self._printed > self._every:
            self._line()

    def _line(self) -> None:
        self._printed = now = time.monotonic()
        done = self._step - self._first
        eta = (now - self._start) / max(done, 1) * (self._total - self._step)
        values = " ".join(f"{k} {v}" for k, v in self._shown.items())
        print(
            f"{self._name}: step {self._step}/{self._total} {values} eta {eta:z.0f} s",
            file=self._stream,
            flush=True,
        )

    def close(self) -> None:
        """Leaves the last values on the screen and closes the bar."""
        if self._bar is None:
            self._line()
        else:
            self._bar.close()
