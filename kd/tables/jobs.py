"""Computes runs on an engine, several at a time, each after those that it needs.

A failed run does not stop the others. One that was stopped, killed or lost with its node is started
again, and goes on from its newest checkpoint.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple

from kd import signals
from kd.engines import SAVED, Ended, Settings, Starts, Task, Work, records
from kd.runs import logs
from kd.runs.workdir import IN_USE
from kd.tables.plan import Run
from kd.values import counted

COMMAND = (sys.executable, "-m", "kd")
"""The command of a process, to which `run` and its options are added."""

REPORT_SECONDS = 60.0
"""How often the last line of each running process is shown."""

LOOK_SECONDS = 1.0
"""How often a run that another process trains is looked at."""

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


def works(
    runs: Sequence[Run],
    plan: Mapping[str, Run],
    root: os.PathLike | str,
    trust: Sequence[str] = (),
) -> list[Work]:
    """The runs as an engine takes them, in the same order.

    Args:
      runs: each once, after those that it needs.
      plan: all runs by reference.
      root: directory of all runs.
      trust: packages for `--trust` of the processes.
    """
    references = {run.reference for run in runs}

    def command(run: Run) -> tuple[str, ...]:
        options = ["--config", run.reference, "--runs", os.fspath(root), "--stopped_status", "75"]
        return (*COMMAND, "run", *options, *(f"--trust={package}" for package in trust))

    def needs(run: Run) -> tuple[str, ...]:
        names = dict.fromkeys(plan[need].reference for need in run.needs)
        return tuple(name for name in names if name in references)

    return [Work(run.reference, run.workdir, needs(run), command(run)) for run in runs]


def run_all(
    works: Sequence[Work],
    engine: Starts,
    settings: Settings,
    tell: Callable[[str], None],
    name: str = "local",
) -> dict[str, str]:
    """Computes the runs and returns why runs failed, by reference.

    A run whose teacher failed is not tried. A run that another process trains is waited for. The
    first signal to stop is passed on to the runs, so that they save; the second kills them.

    Args:
      works: each once, after those that it needs.
      engine: what starts them.
      settings: the number of runs at a time, and how often one is started again.
      tell: called with each line to show.
      name: of the engine.

    Raises:
      KeyboardInterrupt: a signal came; it was passed on and all runs have ended.
    """
    stop = Stop()
    scheduler = _Scheduler(works, engine, settings, tell, stop, name)
    with stop.counting():
        while (scheduler.waiting and not stop.count) or scheduler.running:
            scheduler.start_ready()
            scheduler.pass_on_signal()
            scheduler.collect_ended()
            scheduler.report()
            time.sleep(0.05)
    engine.close()
    if stop.count:
        raise KeyboardInterrupt
    if scheduler.restarts:
        times = counted(sum(scheduler.restarts.values()), "time")
        tell(f"{counted(len(scheduler.restarts), 'run')} went on after a stop, {times} in all")
    return scheduler.failed


class _Job(NamedTuple):
    """A run that is on."""

    work: Work
    task: Task
    start: float
    number: str  # of all, such as "3/24"


class _Scheduler:
    """Waiting, running and failed runs; for the arguments see `run_all`."""

    def __init__(
        self,
        works: Sequence[Work],
        engine: Starts,
        settings: Settings,
        tell: Callable[[str], None],
        stop: Stop,
        name: str,
    ) -> None:
        self.waiting = list(works)
        self.running: dict[str, _Job] = {}
        self.failed: dict[str, str] = {}
        self.restarts: dict[str, int] = {}
        self._engine, self._settings, self._name = engine, settings, name
        self._tell, self._stop = tell, stop
        self._numbers: dict[str, str] = {}
        self._total = len(works)
        self._signals_passed_on = 0
        self._reported = time.monotonic()
        self._seen_in_use: set[str] = set()
        self._look_again: dict[str, float] = {}

    def start_ready(self) -> None:
        """Starts waiting runs that need no unfinished run, while there are free places."""
        unfinished = {work.reference for work in self.waiting} | set(self.running)
        places = self._settings.jobs or len(self.waiting) + len(self.running)
        for work in list(self.waiting):
            failed = next((need for need in work.needs if need in self.failed), None)
            if failed:
                self.waiting.remove(work)
                self.failed[work.reference] = f"{failed}, which it needs, failed"
                self._record(work, "failed", self.failed[work.reference])
            elif self._stop.count or len(self.running) >= places or unfinished & set(work.needs):
                continue
            elif not self._is_in_use(work):
                self._start(work)

    def _is_in_use(self, work: Work) -> bool:
        if time.monotonic() < self._look_again.get(work.reference, 0.0):
            return True
        if work.workdir.holder() is None:
            return False
        self._look_again[work.reference] = time.monotonic() + LOOK_SECONDS
        if work.reference not in self._seen_in_use:
            self._tell(f"{work.workdir} is in use by another process: waiting")
            self._seen_in_use.add(work.reference)
        return True

    def _start(self, work: Work) -> None:
        self.waiting.remove(work)
        if work.reference not in self._numbers:
            self._numbers[work.reference] = f"{len(self._numbers) + 1}/{self._total}"
            self._tell(f"[{self._numbers[work.reference]}] {work.reference}")
        try:
            task = self._engine.start(work)
        except OSError as error:
            self._fail(work, f"it could not be started: {error}")
        else:
            number = self._numbers[work.reference]
            self.running[work.reference] = _Job(work, task, time.monotonic(), number)
            self._record(work, "started")

    def _fail(self, work: Work, reason: str) -> None:
        self.failed[work.reference] = reason
        self._record(work, "failed", reason)
        self._tell(f"{work.reference} FAILED: {reason}")

    def _record(self, work: Work, state: str, reason: str = "") -> None:
        again = self.restarts.get(work.reference, 0)
        records.write(work.workdir, engine=self._name, state=state, reason=reason, again=again)

    def pass_on_signal(self) -> None:
        """Asks the runs to save and stop after the first signal, kills them after others."""
        if self._stop.count > self._signals_passed_on:
            self._signals_passed_on = self._stop.count
            for job in self.running.values():
                (job.task.stop if self._signals_passed_on == 1 else job.task.kill)()

    def collect_ended(self) -> None:
        """Reports the runs that have ended, and puts those back in line that are to go on."""
        for work, task, start, _ in list(self.running.values()):
            ended = task.poll()
            if ended is None:
                continue
            del self.running[work.reference]
            if ended.status == 0 and work.workdir.finished:
                self._tell(f"{work.workdir}: done in {time.monotonic() - start:z.0f} s")
            elif not self._stop.count:
                self._judge(work, ended)

    def _judge(self, work: Work, ended: Ended) -> None:
        """Starts an unfinished run again, or counts it as failed."""
        reason = ended.words or _reason(work, ended.status)
        times = self.restarts.get(work.reference, 0)
        if IN_USE in reason:
            # Another table started it between our look at its lock and its start.
            self.waiting.append(work)
        elif ended.again and times < self._settings.retries:
            self.restarts[work.reference] = times + 1
            self.waiting.insert(0, work)
            self._tell(f"{work.reference}: {reason}; it goes on, {counted(times + 1, 'time')} now")
        elif ended.again:
            self._fail(work, f"{reason}, after it was started again {counted(times, 'time')}")
        else:
            self._fail(work, reason)

    def report(self) -> None:
        """Shows the last line of each run from time to time."""
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            for job in self.running.values():
                self._tell(f"[{job.number}] {_last_line(job.work)}")


def _last_line(work: Work) -> str:
    lines = logs.lines(work.workdir)
    return lines[-1] if lines else f"{work.workdir}: starting"


def _reason(work: Work, status: int | None) -> str:
    """Why a run ended: its error message, or the last line of its stderr."""
    if status is None:
        return "its node was lost"
    if status == SAVED:
        return "stopped and saved"
    text = logs.error(work.workdir)
    if text:
        return text
    if status == 0:
        return "stopped before its end"
    lines = logs.lines(work.workdir)
    return f"{lines[-1] if lines else 'no output'} (exit status {status})"
