"""Requests to stop, by Ctrl-C, SIGTERM or SIGHUP: a handler notes them, and a program stops where
it can.

A handler that raises is not enough: Python ignores what is raised within callbacks, such as those
of the garbage collector, and a handler in Python does not run at all while the main thread is in a
compilation. So the handler sets a flag, which `poll` reads, and within the command a thread reads
the signals as they come: it ends the process at the second signal, or where nothing polls for a
while and nothing is being saved. Files are written atomically, so that a run may end anywhere.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Generator
from typing import NoReturn

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SAME_REQUEST_SECONDS = 0.5
"""Signals within this time count as one: `timeout` and `uv run` both repeat those of the group."""

GRACE_SECONDS = 2.0
"""After a first signal, the time until the process ends where nothing polls."""

UNWINDING_SECONDS = 30.0
"""The time that files may take to close once `Stopped` was raised."""


class Stopped(BaseException):
    """The program was asked to stop; the same command goes on from the last saved state.

    It is no Exception, so that handlers of errors let it pass.
    """


class Listener:
    """Context in which signals are requests to stop; `poll` raises Stopped after the first.

    Within another listener's context, or outside of the main thread, it does nothing. A signal that
    the parent process has set to be ignored stays so.

    Args:
      end: ends the process, with the number of the signal and the reason. Without it the process is
        not ended, and the second signal raises KeyboardInterrupt.

    Attributes:
      number: of the first signal, or None.
    """

    def __init__(self, end: Callable[[int, str], None] | None = None):
        self.number: int | None = None
        self._end = end
        self._count, self._first = 0, 0.0
        self._saving = self._ignored = 0
        self._deadline: float | None = None
        self._before: dict[int, object] = {}
        self._pipe: tuple[int, int] | None = None

    def __enter__(self) -> "Listener":
        global _active
        if _active is not None or threading.current_thread() is not threading.main_thread():
            return self
        _active = self
        if self._end is not None:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            threading.Thread(target=self._watch, name="kd signals", daemon=True).start()
        for number in NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _install(self) -> None:
        for number in self._before:
            signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        """Restores the handlers; in a process that `end` ends, they stay until its last moment."""
        global _active
        if _active is not self or self._end is not None:
            return
        _active = None
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyrefly: ignore

    def _handle(self, number: int, frame: object) -> None:
        if self._ignored:
            return
        if self.number is None:
            self.number, self._first = number, time.monotonic()
        elif self._end is None and time.monotonic() - self._first >= SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        """Reads the signals as they come, whatever the main thread does, and ends the process."""
        assert self._pipe is not None and self._end is not None
        last = 0.0
        while True:
            left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0)
            if not select.select([self._pipe[0]], [], [], left)[0]:
                if self._saving or self._ignored:
                    self._deadline = None
                elif self._deadline is not None and time.monotonic() >= self._deadline:
                    self._end_after(self.number or signal.SIGTERM)
                continue
            for number in os.read(self._pipe[0], 64):
                if self._ignored or number not in self._before:
                    continue
                now = time.monotonic()
                if self._count and now - last >= SAME_REQUEST_SECONDS:
                    self._end_after(number)
                if not self._count:
                    self.number, self._deadline, last = number, now + GRACE_SECONDS, now
                self._count += 1

    def _end_after(self, number: int) -> None:
        assert self._end is not None
        self._end(number, f"ended by {signal.Signals(number).name}")

    def _wake(self) -> None:
        """Makes the thread look at a new deadline."""
        if self._pipe is not None:
            with contextlib.suppress(BlockingIOError):  # full of signals: it is awake
                os.write(self._pipe[1], b"\0")


_active: Listener | None = None


def requested() -> bool:
    """Whether a signal has asked to stop."""
    return _active is not None and _active.number is not None


def poll(message: str = "stopped outside of training") -> None:
    """Raises Stopped in the main thread if a signal has asked to stop and nothing is `saving`."""
    if _active is None or _active.number is None or _active._saving:
        return
    if threading.current_thread() is threading.main_thread():
        stop(message)


def stop(message: str) -> NoReturn:
    """Raises Stopped."""
    if _active is not None:
        _active._deadline = time.monotonic() + UNWINDING_SECONDS
        _active._wake()
    raise Stopped(message)


def listen_again() -> None:
    """To be called after a library has put handlers in the place of the listener's."""
    if _active is not None and threading.current_thread() is threading.main_thread():
        _active._install()


def end(reason: str) -> None:
    """Ends the process as a second SIGTERM does; does nothing outside of the command's process."""
    if _active is not None and _active._end is not None:
        _active._end(signal.SIGTERM, reason)


@contextlib.contextmanager
def saving() -> Generator[None]:
    """Context that reads `requested` and saves before it stops: only a second signal ends it."""
    listener = _active
    if listener is None:
        yield
        return
    listener._saving += 1
    try:
        yield
    finally:
        listener._saving -= 1
        if listener.number is not None and not listener._saving:
            listener._deadline = time.monotonic() + UNWINDING_SECONDS
            listener._wake()


@contextlib.contextmanager
def handled_elsewhere() -> Generator[None]:
    """Context in which other handlers decide what a signal means."""
    listener = _active
    if listener is None:
        yield
        return
    listener._ignored += 1
    try:
        yield
    finally:
        listener._ignored -= 1


@contextlib.contextmanager
def interruptible() -> Generator[None]:
    """Context of a call from Python: Ctrl-C raises KeyboardInterrupt once the state is saved."""
    with Listener() as listener:
        try:
            yield
        except Stopped as stopped:
            if listener.number == signal.SIGINT:
                raise KeyboardInterrupt(str(stopped)) from None
            raise
