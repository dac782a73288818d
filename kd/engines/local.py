"""Runs as processes of this machine."""

import subprocess
import time
from collections.abc import Sequence

from kd.engines import Ended, Settings, Work
from kd.errors import InputError
from kd.runs import logs
from kd.runs.workdir import Workdir

COPY_SECONDS = 60.0
"""How often the log of a run in a bucket is copied there."""


class Engine:
    """Starts a process for each run."""

    def __init__(self, settings: Settings):
        for name in ("each", "address", "header"):
            if getattr(settings, name):
                raise InputError(f"--{name} is for a cluster: give --on slurm or --on ray.")
        self._begun: set[str] = set()

    def check(self, works: Sequence[Work]) -> None:
        """Nothing can be wrong with this machine."""

    def shown(self, works: Sequence[Work]) -> list[str]:
        """Nothing besides the estimates: the commands are as always."""
        return []

    def start(self, work: Work) -> "Process":
        """Starts the process. Raises OSError."""
        mode = "a" if work.reference in self._begun else "w"
        self._begun.add(work.reference)
        return Process(work, mode)

    def close(self) -> None:
        """Nothing is left to close."""


class Process:
    """A process whose errors go to the log of its run."""

    def __init__(self, work: Work, mode: str):
        path = logs.file(work.workdir)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._workdir: Workdir = work.workdir
        self._copied = time.monotonic()
        with path.open(mode) as errors:
            # In a new session, so that Ctrl-C in the terminal reaches only this process, which
            # passes it on as a request to save.
            self._process = subprocess.Popen(
                work.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def poll(self) -> Ended | None:
        """How the process ended; 128 + the number where a signal ended it."""
        status = self._process.poll()
        if status is not None or time.monotonic() - self._copied > COPY_SECONDS:
            self._copied = time.monotonic()
            logs.copy(self._workdir)
        if status is None:
            return None
        return Ended(128 - status if status < 0 else status)

    def stop(self) -> None:
        """Sends SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._process.kill()
