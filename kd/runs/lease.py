"""Leases: locks of a directory where flock does not work, which are buckets and network mounts.

A lease is a file `.lease-N`, made only if no other process has made it, and written anew by a
thread as long as its process lives. The process with the highest number holds the directory. A
lease that was not renewed for `PERIOD` seconds is over, and another process may make number N + 1.
The ages of files are by the clock of their file system: machines need not agree on the time.

Two processes cannot both believe that they hold the directory while they write: one that takes over
looks again after it made its file, and leaves if the earlier one has renewed; the earlier one
renews before it looks. So either the second sees the renewal, or the first sees the file.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from etils import epath

from kd.errors import InputError, RunError
from kd.runs.lease_files import Files, files_of, machine, start_of

VARIABLE = "KD_LEASE_SECONDS"
PERIOD = 300.0
"""Seconds after which a lease that was not renewed is over; the variable sets another time."""

RENEWALS = 10
"""A lease is renewed so many times in its period: every 30 seconds."""


class TakenOver(RunError):
    """Another process has taken over the run: this one did not renew its lease in time.

    `kd run` exits with `--stopped_status` where that is given: the same command goes on.
    """


class Held(Exception):
    """Another process holds the directory; the text says which."""


def period() -> float:
    """Seconds after which a lease is over."""
    text = os.environ.get(VARIABLE) or PERIOD
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise InputError(f"${VARIABLE} is {text}: expected seconds, more than 0.")
    return seconds


class Lease:
    """A directory that this process holds, from `take` until `release`.

    Attributes:
      lost: set once another process has taken over.
    """

    def __init__(self, directory: epath.Path, number: int, files: Files):
        self.lost = threading.Event()
        self._directory, self._number, self._files = directory, number, files
        self._period = period()
        self._renewed = _now()
        self._ended = threading.Event()
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="kd lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises TakenOver unless this process still holds the directory."""
        try:
            holds = self._still_holds(_now() - self._renewed > self._period / RENEWALS / 2)
        except Exception as error:
            first = str(error).strip().partition("\n")[0] or type(error).__name__
            raise RunError(f"{self._directory}: its lease could not be read: {first}") from error
        if not holds:
            raise TakenOver(
                f"{self._directory} was taken over by another process, since this one did not "
                f"renew its lease for {self._period:zg} s. Nothing more is written"
            )

    def release(self) -> None:
        """Removes the lease; a lease of another process stays."""
        self._ended.set()
        self._thread.join()
        with self._mutex, contextlib.suppress(OSError):
            for number in self._files.numbers():
                if number <= self._number:
                    self._files.remove(number)

    def _still_holds(self, renew: bool) -> bool:
        with self._mutex:
            if renew and not self.lost.is_set():
                if self._number not in self._files.numbers():
                    self.lost.set()  # taken over, and that process has ended meanwhile
                else:
                    self._files.renew(self._number)
                    self._renewed = _now()
            if not self.lost.is_set() and max(self._files.numbers(), default=0) != self._number:
                self.lost.set()
            return not self.lost.is_set()

    def _renew(self) -> None:
        while not self._ended.wait(self._period / RENEWALS):
            with contextlib.suppress(Exception):  # tried again; `check` says what stays wrong
                if not self._still_holds(True):
                    return


def _now() -> float:
    """Seconds that also pass while the machine is suspended."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def take(directory: epath.Path) -> Lease:
    """Takes the lease of a directory that exists.

    Raises:
      Held: another process holds it.
      OSError: the file system refuses it.
    """
    files = files_of(directory)
    numbers = files.numbers()
    top = max(numbers, default=0)
    if top and not _is_over(files, top):
        raise Held(_words(files, top))
    number = top + 1
    if not files.create(number):
        raise Held("another process takes it at this moment")
    try:
        others = [n for n in files.numbers() if n != number]
        if any(n > number or not _is_over(files, n) for n in others):
            raise Held("another process takes it at this moment")
    except BaseException:
        with contextlib.suppress(OSError):
            files.remove(number)
        raise
    return Lease(directory, number, files)


@contextlib.contextmanager
def held(directory: epath.Path) -> Generator[Callable[[], None]]:
    """Context that holds a directory; yields what checks that it still does. Raises as `take`."""
    lease = take(directory)
    try:
        yield lease.check
    finally:
        lease.release()


def holder(directory: epath.Path) -> dict[str, Any] | None:
    """Who holds a directory, with `host`, `pid`, `job` and `seconds` since the renewal; or None."""
    files = files_of(directory)
    top = max(files.numbers(), default=0)
    if not top or _is_over(files, top):
        return None
    return files.content(top) | {"seconds": files.age(top)}


def _is_over(files: Files, number: int) -> bool:
    """Whether a lease is gone, too old, or of a process of this machine that has ended."""
    age = files.age(number)
    return age is None or age > period() or _has_ended(files.content(number))


def _has_ended(content: dict[str, Any]) -> bool:
    """Whether the process is known to have ended: it was one of those that this process can see."""
    pid, started = content.get("pid"), content.get("started")
    if not (machine() and content.get("machine") == machine() and isinstance(pid, int)):
        return False
    return start_of(pid) != started


def _words(files: Files, number: int) -> str:
    content, age = files.content(number), files.age(number)
    job = f", {content['job']}" if content.get("job") else ""
    renewed = "" if age is None else f", renewed {max(age, 0):z.0f} s ago"
    left = f"; it is taken over {period():zg} s after its last renewal"
    return f"process {content.get('pid', '?')} on {content.get('host', '?')}{job}{renewed}{left}"
