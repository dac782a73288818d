"""The command `kd`: parses arguments, runs the verb, and turns errors into exit statuses.

| exit status | |
|---|---|
| 0 | success; or `kd run` was stopped by SIGTERM or SIGHUP, see `--stopped_status` |
| 1 | a run or a write to disk failed |
| 2 | the input is at fault |
| 130 | stopped by Ctrl-C; other verbs than `kd run` also by SIGTERM or SIGHUP |

A second signal ends the process at once, with the same status.
"""

from kd import signals  # isort: skip  # before anything that takes time to import

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from kd.cli.parser import check_buckets, find_verbs, make_parser, parse
from kd.errors import InputError, RunError
from kd.files import escaping
from kd.names import trust

__all__ = ["find_verbs", "main", "make_parser"]

INTERRUPTED = 130
RESUMES = "The same command resumes from what is saved."
BEGINS_ANEW = "The same command begins anew."
JOIN_SECONDS = 1.0
"""How long threads may take to end after a failure."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Args:
      arguments: what follows `kd`; by default `sys.argv[1:]`, and the process is the command's: a
        signal may end it.

    Returns:
      what the verb returns, 0 for success; for others see above.
    """
    if arguments is not None:
        with signals.Listener() as listener:
            return _Command(list(arguments)).run(listener)
    command = _Command(sys.argv[1:])
    with signals.Listener(command.end) as listener:
        status = command.run(listener)
    return command.leave(status)


class _Command:
    """One call of the command: what it was asked for and how it ends."""

    def __init__(self, arguments: list[str]):
        self._arguments = arguments
        self._verb = next((word for word in arguments if not word.startswith("-")), "")
        self._again = ""  # what the same command then does, once the verb is known
        self._status: int | None = None  # once the verb has ended
        self._was_stopped = False

    def run(self, listener: signals.Listener) -> int:
        """Runs the verb and returns the exit status."""
        try:
            status, message = self._act(), ""
        except InputError as error:
            status, message = 2, str(error)
        except (RunError, OSError) as error:  # OSError: such as a full disk, a closed pipe
            status, message = self._status_of(error), str(error)
        except signals.Stopped as stopped:
            self._was_stopped = True
            status = self._status_after(listener.number or signal.SIGTERM)
            message = "" if self._verb == "run" else f"interrupted. {self._again}"
            if self._verb == "run":
                print(f"kd run: {escaping.plain(stopped)}. The same command resumes from there.")
        except KeyboardInterrupt:
            status, message = INTERRUPTED, f"interrupted. {self._again}"
        self._status = status
        if message:
            print(escaping.message(f"kd {self._verb}: {message.rstrip()}"), file=sys.stderr)
        return status

    def _act(self) -> int:
        options = parse(self._arguments)
        self._verb = options.verb
        self._again = RESUMES if getattr(options.module, "RESUMES", False) else BEGINS_ANEW
        check_buckets(options)
        with trust.allow(getattr(options, "trust", ()), _root(options)):
            return options.module.act(options)

    def _status_of(self, error: Exception) -> int:
        """Exit status after a failure; where another process goes on with the run, not 1."""
        lease = sys.modules.get("kd.runs.lease")
        if self._verb == "run" and lease is not None and isinstance(error, lease.TakenOver):
            return self._stopped_status() or 1
        return 1

    def _status_after(self, number: int) -> int:
        """Exit status after a signal."""
        if self._verb != "run":
            return INTERRUPTED
        status = self._stopped_status()
        if status is not None:
            return status
        return INTERRUPTED if number == signal.SIGINT else 0

    def _stopped_status(self) -> int | None:
        """The value of `--stopped_status`."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        parser.add_argument("--stopped_status", type=int)
        with contextlib.suppress(argparse.ArgumentError):
            return parser.parse_known_args(self._arguments)[0].stopped_status
        return None

    def end(self, number: int, reason: str) -> None:
        """Ends the process at once, from a thread: no lock is taken, nothing is waited for."""
        if self._status is not None:
            os._exit(self._status)
        line = f"kd {self._verb}: {reason}. {self._again}".rstrip()
        with contextlib.suppress(OSError):
            os.write(2, f"{line}\n".encode())
        _kill_children()
        os._exit(self._status_after(number))

    def leave(self, status: int) -> int:
        """The exit status once all output is written.

        After a failure, threads of libraries may wait for minutes for what will not come: the
        process ends without them. Other processes of the run notice that it is gone, while jax's
        orderly end would wait for them.
        """
        try:
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more at its end
            if not status and not isinstance(error, BrokenPipeError):
                print(f"kd {self._verb}: standard output: {error}", file=sys.stderr)
            status = self._status = status or 1
        if (status or self._was_stopped) and (_has_peers() or _threads_stay()):
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            _kill_children()
            os._exit(status)
        return status


def _has_peers() -> bool:
    """Whether this is one of several processes of a run."""
    peers = sys.modules.get("kd.devices.peers")
    return peers is not None and peers.watching()


def _threads_stay() -> bool:
    """Whether threads for which Python would wait are still running after a moment."""
    main = threading.main_thread()
    stay = lambda: any(not t.daemon and t is not main for t in threading.enumerate())
    deadline = time.monotonic() + JOIN_SECONDS
    while stay() and time.monotonic() < deadline:
        time.sleep(0.01)
    return stay()


def _kill_children() -> None:
    """Ends the processes of `multiprocessing`, which decode pictures."""
    if multiprocessing := sys.modules.get("multiprocessing"):
        for child in multiprocessing.active_children():
            child.kill()


def _root(options: argparse.Namespace) -> str:
    """The directory of the runs, where the verb has an option for it."""
    root = getattr(options, "runs", "runs")
    return root if isinstance(root, str) else "runs"
