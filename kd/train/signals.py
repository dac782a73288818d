"""SIGTERM: a training saves before it stops, anything else stops at once."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """The run was asked to stop, its state is saved, and it can be resumed.

    It is no Exception, so that handlers of errors let it pass.
    """


@contextmanager
def stopped_by_signal() -> Generator[None]:
    """Context in which SIGTERM raises Stopped; within `kd.train.loop.train` see `StopRequest`.

    Outside of training, files are written atomically, so that a run may stop anywhere.
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
    """Context in which SIGTERM sets `requested`, which the loop reads at its next dispatch."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)
