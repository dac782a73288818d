"""The progress of a run on the terminal: epochs, per cent, time to go, loss and accuracies."""

import math
import os
import sys
import time
import unicodedata
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from kd.files.escaping import plain

REDRAW_SECONDS = 0.1
"""Least time between two drawings of the bar."""

LEFT_OUT = 3
"""Intervals that the time to go leaves out: the update of a short last batch and the evaluation are
compiled after the first update.
"""

LONGEST_BAR, SHORTEST_BAR = 30, 8
"""Characters of the bar; where the shortest does not fit, there is none."""


@runtime_checkable
class Stream(Protocol):
    """What progress is written to: standard error, or a text in memory."""

    def write(self, text: str, /) -> Any: ...

    def flush(self) -> Any: ...

    def isatty(self) -> bool: ...


class Progress:
    """A progress bar on a terminal; elsewhere a plain line from time to time.

    Lines come every `every` seconds at first and then ever more seldom: a run of ten hours prints
    some 150 of them.

    Args:
      name: of the run.
      total: steps of the run; None where that is not known.
      step: that the session starts with.
      stream: standard error by default.
      every: least seconds between two lines.
      steps_per_epoch: None shows steps instead of epochs.
      place: of the run among those of a command, such as "2 of 3: student".
      seeds: whose means the values are.
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        step: int,
        stream: Stream | None = None,
        every: float = 10.0,
        steps_per_epoch: int | None = None,
        place: str = "",
        seeds: int = 1,
    ):
        self._stream = stream or sys.stderr
        self._name, self._place = plain(name), plain(place)
        self._total, self._step, self._every = total, step, every
        self._per_epoch, self._seeds = steps_per_epoch, seeds
        self._start = self._printed = time.monotonic()
        self._first: tuple[int, float] | None = None  # step and time of the first update
        self._last = 0.0  # time of the newest update
        self._longest: list[tuple[float, int]] = []  # seconds and steps between two updates
        self._intervals = 0
        self._values: dict[str, dict[str, str]] = {}
        self._bar_width = LONGEST_BAR
        self._bar_width = LONGEST_BAR
        self._has_bar = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        if self._has_bar:
            self._draw()

    def update(self, step: int, **values: float) -> None:
        """Shows `step` and the newest values; values that are left out stay.

        Args:
          step: steps done.
          values: of what and which one, such as `"test accuracy"`. Accuracies are in [0, 1] and
            shown in per cent; a value that is not finite is left out.
        """
        now = time.monotonic()
        if self._first is None:
            self._first = step, now
        else:
            interval = now - self._last, step - self._step
            self._longest = sorted([*self._longest, interval])[-LEFT_OUT:]
            self._intervals += 1
        self._last = now
        for key, value in values.items():
            if math.isfinite(value):
                of, _, which = key.rpartition(" ")
                text = f"{100 * value:z.2f} %" if which == "accuracy" else f"{value:z.4g}"
                self._values.setdefault(of, {})[which] = text
        self._step = step
        if self._has_bar:
            if now - self._printed >= REDRAW_SECONDS or step == self._total:
                self._draw()
        elif now - self._printed > max(self._every, (now - self._start) / 30):
            self._line()

    def close(self) -> None:
        """Leaves the last values on the screen."""
        if self._has_bar:
            self._draw()
            print(file=self._stream, flush=True)
        else:
            self._line()

    def _line(self) -> None:
        self._printed = time.monotonic()
        name = f"{self._name} ({self._place})" if self._place else self._name
        facts = [self._epoch(), self._percent(), self._time()]
        text = "; ".join(filter(None, [", ".join(filter(None, facts)), self._shown()]))
        print(f"{name}: {text}", file=self._stream, flush=True)

    def _draw(self) -> None:
        """Draws the bar over the last one, with as much beside it as the terminal has room for."""
        self._printed = time.monotonic()
        width = _columns(self._stream) - 1
        percent, name = self._percent(), self._place or self._name
        epoch, left = self._epoch(), self._time()
        choices = (
            (name, epoch, left, self._shown()),
            (name, epoch, left, _listed(self._values)),
            (name, epoch, left, self._accuracies()),
            (name, epoch, self._accuracies()),
            (name, epoch, left),
            (name, epoch),
            (name,),
        )
        texts = [" | ".join(filter(None, facts)) for facts in choices]
        room = lambda text: width - _width(f"{percent:>5}  {text}")
        text = next((text for text in texts if room(text) >= SHORTEST_BAR), name)
        has_room = room(text) >= SHORTEST_BAR
        if has_room:  # it only ever shrinks, so that it does not tremble with the numbers
            self._bar_width = min(self._bar_width, room(text))
        if percent:
            bar = self._bar(self._bar_width) + " " if has_room else ""
            text = f"{percent:>5} {bar}{text}"
        while _width(text) > width:
            text = text[:-1]
        print(f"\r{text}\x1b[K", end="", file=self._stream, flush=True)

    def _bar(self, width: int) -> str:
        full, empty = "█", "░"
        try:
            (full + empty).encode(getattr(self._stream, "encoding", None) or "ascii")
        except UnicodeEncodeError:
            full, empty = "#", "-"
        filled = int(width * self._step / self._total) if self._total else 0
        return full * filled + empty * (width - filled)

    def _percent(self) -> str:
        return f"{100 * self._step // self._total} %" if self._total else ""

    def _epoch(self) -> str:
        if not self._per_epoch:
            return f"step {self._step:,}" + (f" of {self._total:,}" if self._total else "")
        epoch = max(1, math.ceil(self._step / self._per_epoch))
        if not self._total:
            return f"epoch {epoch:,}"
        return f"epoch {epoch:,} of {self._total // self._per_epoch:,}"

    def _time(self) -> str:
        """Time to go, by the rate since the first update; at the end, the time that it took.

        The longest intervals between updates are left out: programs are compiled in them.
        """
        if self._step == self._total:
            return f"took {duration(time.monotonic() - self._start)}"
        if not self._total or self._first is None or self._intervals <= 2 * LEFT_OUT:
            return ""
        step, start = self._first
        seconds = self._last - start - sum(interval[0] for interval in self._longest)
        steps = self._step - step - sum(interval[1] for interval in self._longest)
        if steps <= 0:
            return ""
        return f"{duration(seconds / steps * (self._total - self._step))} left"

    def _accuracies(self) -> str:
        shown = [f"{of} {v['accuracy']}" for of, v in self._values.items() if "accuracy" in v]
        return f"accuracy: {', '.join(shown)}" if shown else ""

    def _shown(self) -> str:
        values = _listed(self._values)
        return f"mean of {self._seeds} seeds, {values}" if values and self._seeds > 1 else values


def _listed(values: Mapping[str, Mapping[str, str]]) -> str:
    """Values by what they are of: "train loss 0.31, accuracy 95.00 %; test accuracy 93.00 %"."""
    groups = (
        " ".join(filter(None, [of, ", ".join(f"{which} {text}" for which, text in named.items())]))
        for of, named in values.items()
    )
    return "; ".join(groups)


def duration(seconds: float) -> str:
    """A time in the two largest units that it has: 12 s, 3 min 20 s, 2 h 5 min."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600:,} h {rounded % 3600 // 60} min"


def _width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _columns(stream: Any) -> int:
    """Columns of the stream's terminal, 80 where it does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (AttributeError, OSError, ValueError):
        return 80
