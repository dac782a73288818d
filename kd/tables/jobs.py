"""Trains runs in processes, several at a time, each after those that it needs.

A failed run does not stop the others.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kd import signals
from kd.errors import InputError
from kd.runs.workdir import IN_USE, InUse
from kd.tables.plan import Run

COMMAND = (sys.executable, "-m", "kd")
"""The command of a process, to which `run` and its options are added."""

REPORT_SECONDS = 60.0
"""How often the last line of each running process is shown."""

SAME_REQUEST_SECONDS = 1.0
"""Signals within this time count as one: `timeout` and `uv run` both repeat those of the group."""


class Stop:
    """Counts requests to stop, from SIGINT and SIGTERM."""

    def __init__(self) -> None:
        self.count = 0
        self._last = -SAME_REQUEST_SECONDS

    @contextlib.contextmanager
    def counting(self) -> Generator[None]:
        """Within the context, the signals are counted instead of raising or ending the process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._handle)
        try:
            with signals.handled_elsewhere():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if now - self._last >= SAME_REQUEST_SECONDS:
            self.count, self._last = self.count + 1, now


def run_all(
    runs: Sequence[Run],
    plan: Mapping[str, Run],
    jobs: int,
    root: os.PathLike | str,
    tell: Callable[[str], None],
    trust: Sequence[str] = (),
) -> dict[str, str]:
    """Trains the runs and returns why runs failed, by reference.

    A run whose teacher failed is not tried. A run that another process trains is waited for. The
    first signal to stop is passed on to the processes, so that they save; the second kills them.

    Args:
      runs: each once, after those that it needs.
      plan: all runs by reference.
      jobs: number of processes at a time.
      root: directory of all runs.
      tell: called with each line to show.
      trust: packages for `--trust` of the processes.

    Raises:
      KeyboardInterrupt: a signal came; it was passed on and all processes have ended.
    """
    stop = Stop()
    scheduler = _Scheduler(runs, plan, jobs, root, tell, stop, trust)
    with stop.counting():
        while (scheduler.waiting and not stop.count) or scheduler.running:
            scheduler.start_ready()
            scheduler.pass_on_signal()
            scheduler.collect_ended()
            scheduler.report()
            time.sleep(0.05)
    if stop.count:
        raise KeyboardInterrupt
    return scheduler.failed


class _Job(NamedTuple):
    """A running process."""

    run: Run
    process: subprocess.Popen
    start: float
    number: str  # of all, such as "3/24"


class _Scheduler:
    """Waiting, running and failed runs; for the arguments see `run_all`."""

    def __init__(
        self,
        runs: Sequence[Run],
        plan: Mapping[str, Run],
        jobs: int,
        root: os.PathLike | str,
        tell: Callable[[str], None],
        stop: Stop,
        trust: Sequence[str] = (),
    ) -> None:
        self.waiting = list(runs)
        self.running: dict[str, _Job] = {}
        self.failed: dict[str, str] = {}
        self._plan, self._jobs, self._root = plan, jobs, root
        self._tell, self._stop, self._trust = tell, stop, trust
        self._started, self._total = 0, len(runs)
        self._signals_passed_on = 0
        self._reported = time.monotonic()
        self._seen_in_use: set[str] = set()

    def start_ready(self) -> None:
        """Starts waiting runs that need no unfinished run, while there are free places."""
        unfinished = {run.reference for run in self.waiting} | set(self.running)
        for run in list(self.waiting):
            needs = [self._plan[need].reference for need in run.needs]
            failed = next((need for need in needs if need in self.failed), None)
            if failed:
                self.waiting.remove(run)
                self.failed[run.reference] = f"{failed}, which it needs, failed"
            elif self._stop.count or len(self.running) >= self._jobs or unfinished & set(needs):
                continue
            elif not self._is_in_use(run):
                self._start(run)

    def _is_in_use(self, run: Run) -> bool:
        if not _is_locked(run):
            return False
        if run.reference not in self._seen_in_use:
            self._tell(f"{run.workdir} is in use by another process: waiting")
            self._seen_in_use.add(run.reference)
        return True

    def _start(self, run: Run) -> None:
        self.waiting.remove(run)
        self._started += 1
        number = f"{self._started}/{self._total}"
        self._tell(f"[{number}] {run.reference}")
        try:
            process = _start_process(run, self._root, self._trust)
        except OSError as error:
            self._fail(run, f"it could not be started: {error}")
        else:
            self.running[run.reference] = _Job(run, process, time.monotonic(), number)

    def _fail(self, run: Run, reason: str) -> None:
        self.failed[run.reference] = reason
        self._tell(f"{run.reference} FAILED: {reason}")

    def pass_on_signal(self) -> None:
        """Asks the processes to save and stop after the first signal, kills them after others."""
        if self._stop.count > self._signals_passed_on:
            self._signals_passed_on = self._stop.count
            for job in self.running.values():
                (job.process.terminate if self._signals_passed_on == 1 else job.process.kill)()

    def collect_ended(self) -> None:
        """Reports the processes that have ended, and puts a run that was in use back in line."""
        for run, process, start, _ in list(self.running.values()):
            if process.poll() is None:
                continue
            del self.running[run.reference]
            if process.returncode == 0 and run.workdir.finished:
                self._tell(f"{run.workdir}: done in {time.monotonic() - start:z.0f} s")
            elif not self._stop.count:
                reason = _reason(run, process.returncode)
                if IN_USE in reason:
                    # Another table started it between our look at its lock and its start.
                    self.waiting.append(run)
                    self._started -= 1
                else:
                    self._fail(run, reason)

    def report(self) -> None:
        """Shows the last line of each process from time to time."""
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            for job in self.running.values():
                self._tell(f"[{job.number}] {_last_line(job.run)}")


def log_file(run: Run) -> Path:
    """The file for a process's stderr, next to the run directory."""
    return Path(f"{run.workdir}.log")


def _start_process(
    run: Run, root: os.PathLike | str, trust: Sequence[str] = ()
) -> subprocess.Popen:
    log_file(run).parent.mkdir(parents=True, exist_ok=True)
    command = [*COMMAND, "run", "--config", run.reference, "--runs", os.fspath(root)]
    command += [f"--trust={package}" for package in trust]
    with log_file(run).open("w") as errors:
        # In a new session, so that Ctrl-C in the terminal reaches only this process, which passes
        # it on as a request to save.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


def _is_locked(run: Run) -> bool:
    """True if another process trains the run now."""
    if not run.workdir.path.exists():
        return False
    try:
        with run.workdir.lock():
            return False
    except InUse:
        return True
    except InputError:  # the run itself will report what is wrong
        return False


def _stderr(run: Run) -> list[str]:
    """Lines that a process wrote to stderr; none if the file is gone."""
    try:
        return log_file(run).read_text(errors="replace").strip().splitlines()
    except OSError:
        return []


def _last_line(run: Run) -> str:
    lines = _stderr(run)
    return lines[-1] if lines else f"{run.workdir}: starting"


def _reason(run: Run, status: int) -> str:
    """Why a process ended: its error message, or the last line of its stderr."""
    lines = _stderr(run)
    messages = [i for i, line in enumerate(lines) if line.startswith("kd run: ")]
    if messages:
        text = " ".join(line.strip() for line in lines[messages[-1] :])
        return text.removeprefix("kd run: ")
    if status == 0:
        return "stopped before its end"
    return f"{lines[-1] if lines else 'no output'} (exit status {status})"
