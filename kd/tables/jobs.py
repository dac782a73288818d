"""Runs as processes of their own: in the order that they need, some at a time, each failure on its
own.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from kd.errors import InputError
from kd.runs.workdir import IN_USE, InUse
from kd.tables.plan import Run

COMMAND = (sys.executable, "-m", "kd")
"""What a job is: this, then `run` and its options."""

TELL_SECONDS = 60.0
"""How often the last line of each running job is shown."""

ONE_REQUEST = 1.0
"""Seconds in which further signals are the same request: `timeout` and `uv run`, each, pass on what
the whole group was sent.
"""


class Stop:
    """Signals that ask to stop: the first is passed on, so that runs save; the second ends them."""

    def __init__(self) -> None:
        self.asked = 0
        self._last = -ONE_REQUEST

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """SIGINT and SIGTERM are counted rather than obeyed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._hear)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if now - self._last >= ONE_REQUEST:
            self.asked, self._last = self.asked + 1, now


def run_all(
    runs: Sequence[Run],
    plan: Mapping[str, Run],
    jobs: int,
    root: os.PathLike | str,
    tell: Callable[[str], None],
) -> dict[str, str]:
    """Runs each, those that it needs first, and returns what failed: the reason by reference.

    A run whose teacher failed is not tried. A run that another process holds is waited for.

    Args:
      runs: each once, in an order in which none stands before what it needs.
      plan: all runs by reference.
      jobs: processes at a time.
      root: the directory of runs.
      tell: where a line goes.

    Raises:
      KeyboardInterrupt: a signal came; it was passed on and all processes have ended.
    """
    waiting, total, begun = list(runs), len(runs), 0
    running: dict[str, tuple[Run, subprocess.Popen, float]] = {}
    failed: dict[str, str] = {}
    stop, passed_on, told = Stop(), 0, time.monotonic()
    held: set[str] = set()
    with stop.heard():
        while (waiting and not stop.asked) or running:
            unfinished = {r.reference for r in waiting} | set(running)
            for run in list(waiting):
                needs = [plan[need].reference for need in run.needs]
                lost = next((need for need in needs if need in failed), None)
                if lost:
                    waiting.remove(run)
                    failed[run.reference] = f"{lost}, which it needs, failed"
                    continue
                if stop.asked or len(running) >= jobs or unfinished & set(needs):
                    continue
                if _held(run):
                    if run.reference not in held:
                        tell(f"{run.workdir} is in use by another process: waiting")
                        held.add(run.reference)
                    continue
                waiting.remove(run)
                begun += 1
                tell(f"[{begun}/{total}] {run.reference}")
                try:
                    process = _start(run, root)
                except OSError as error:
                    failed[run.reference] = f"it could not be started: {error}"
                    tell(f"{run.reference} FAILED: {failed[run.reference]}")
                    continue
                running[run.reference] = run, process, time.monotonic()
            if stop.asked > passed_on:
                passed_on = stop.asked
                for _, process, _ in running.values():
                    (process.terminate if passed_on == 1 else process.kill)()
            for run, process, start in list(running.values()):
                if process.poll() is None:
                    continue
                del running[run.reference]
                if process.returncode == 0 and run.workdir.finished:
                    tell(f"{run.workdir}: done in {time.monotonic() - start:.0f} s")
                elif not stop.asked:
                    reason = _reason(run, process.returncode)
                    if IN_USE in reason:
                        # Another table began it, too, in the seconds before either had locked its
                        # directory.
                        waiting.append(run)
                        begun -= 1
                        continue
                    failed[run.reference] = reason
                    tell(f"{run.reference} FAILED: {failed[run.reference]}")
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                for run, _, _ in running.values():
                    tell(_last_line(run))
            time.sleep(0.05)
    if stop.asked:
        raise KeyboardInterrupt
    return failed


def log_file(run: Run) -> Path:
    """Where a job's stderr goes: beside the run's directory."""
    return Path(f"{run.workdir}.log")


def _start(run: Run, root: os.PathLike | str) -> subprocess.Popen:
    log_file(run).parent.mkdir(parents=True, exist_ok=True)
    command = [*COMMAND, "run", "--config", run.reference, "--runs", os.fspath(root)]
    with log_file(run).open("w") as errors:
        # A session of its own: a Ctrl-C in the terminal reaches the table alone, which passes on a
        # request to save.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


def _held(run: Run) -> bool:
    """Whether another process trains it now."""
    if not run.workdir.path.exists():
        return False
    try:
        with run.workdir.lock():
            return False
    except InUse:
        return True
    except InputError:  # the run itself will say what is wrong
        return False


def _words(run: Run) -> list[str]:
    """Lines of its stderr; none where the file is gone."""
    try:
        return log_file(run).read_text(errors="replace").strip().splitlines()
    except OSError:
        return []


def _last_line(run: Run) -> str:
    lines = _words(run)
    return lines[-1] if lines else f"{run.workdir}: starting"


def _reason(run: Run, status: int) -> str:
    """The command's own words about its end, or the last line of its stderr."""
    lines = _words(run)
    own = [i for i, line in enumerate(lines) if line.startswith("kd run: ")]
    if own:
        return " ".join(line.strip() for line in lines[own[-1] :])[len("kd run: ") :]
    if status == 0:
        return "stopped before its end"
    return f"{lines[-1] if lines else 'no word'} (exit status {status})"
