"""Requests to stop: what a first signal does, what a second does, and with which exit status."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from kd import signals
from kd.cli import main as command

HEAD = """
import os, signal, sys, threading, time
from kd import signals
signals.GRACE_SECONDS = signals.SAME_REQUEST_SECONDS = 0.1

def kill(name, after=0.0):
    threading.Timer(after, os.kill, (os.getpid(), getattr(signal, name))).start()

def compile():
    "Keeps the main thread in one call without a line of Python, as a compilation does."
    import hashlib
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def verb(work, *arguments):
    "The command with a verb `run` or `report` that does this work."
    from kd.cli import main, parser
    class Verb:
        ORDER, HELP, DESCRIPTION = 0, "", ""
        add_arguments = lambda parser: parser.add_argument("--stopped_status", type=int)
        act = lambda options: work()
    Run = type("Run", (Verb,), {"RESUMES": True})
    parser.find_verbs = lambda: {"run": Run, "report": Verb}
    sys.argv = ["kd", *arguments]
    sys.exit(main.main())

def saves():
    with signals.saving():
        while not signals.requested():
            time.sleep(0.01)
        time.sleep(0.5)  # longer than the grace
        signals.stop("stopped, saved")

def twice(number, work):
    kill(number, 0.1)
    kill(number, 0.6)
    work()

def in_saving():
    with signals.saving():
        compile()
"""


def run(code: str) -> subprocess.CompletedProcess:
    """A process of this code after `HEAD`."""
    text = HEAD + textwrap.dedent(code)
    command = [sys.executable, "-c", text]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


CASES = [
    # work, arguments, exit status
    ("kill('SIGTERM'); saves()", ["run"], 0),
    ("kill('SIGINT'); saves()", ["run"], 130),
    ("kill('SIGINT'); saves()", ["run", "--stopped_status", "75"], 75),
    ("kill('SIGTERM'); compile()", ["run", "--stopped_status=75"], 75),
    ("kill('SIGHUP'); compile()", ["run", "--stopped_status", "75"], 75),
    ("kill('SIGINT'); compile()", ["run"], 130),
    ("kill('SIGTERM'); compile()", ["report"], 130),
    ("twice('SIGTERM', in_saving)", ["run", "--stopped_status", "75"], 75),
    ("twice('SIGINT', in_saving)", ["run"], 130),
]


@pytest.mark.parametrize(("work", "arguments", "status"), CASES)
def test_every_way_to_end_on_a_signal_has_its_status_and_one_line(work, arguments, status):
    """Saving, in the middle of a compilation, and by a second signal while the state is saved."""
    done = run(f"def work():\n    {work}\n    return 0\nverb(work, *{arguments})")
    printed = done.stdout + done.stderr
    assert done.returncode == status, printed
    assert printed.startswith(f"kd {arguments[0]}: ") and printed.count("\n") == 1, printed
    again = "resumes" if arguments[0] == "run" else "begins anew"
    assert f"The same command {again}" in printed


def test_a_signal_during_the_imports_ends_with_the_chosen_status():
    """The command itself, stopped by the first module that it imports after the package."""
    code = """
        class Stops:
            def find_spec(self, name, *rest):
                if name == "kd.config" and kill("SIGTERM") is None:
                    compile()
        sys.meta_path.insert(0, Stops())
        from kd.cli import main
        sys.argv = ["kd", "run", "--config", "any.py", "--stopped_status", "75"]
        sys.exit(main.main())
    """
    done = run(code)
    assert done.returncode == 75 and done.stderr.count("\n") == 1, done.stderr


def test_a_signal_once_all_is_done_changes_nothing():
    """Such as one that comes while Python ends."""
    code = """
        import atexit
        atexit.register(lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.3)))
        verb(lambda: 0, "run", "--stopped_status", "75")
    """
    done = run(code)
    assert done.returncode == 0 and not done.stderr


def test_threads_of_a_failed_run_do_not_keep_the_process():
    code = """
        from kd.errors import RunError
        def fails():
            threading.Thread(target=time.sleep, args=(600,)).start()
            raise RunError("no room")
        verb(fails, "run")
    """
    done = run(code)
    assert done.returncode == 1 and done.stderr == "kd run: no room\n"


@pytest.mark.parametrize("target", ["| head -c 0", "> /dev/full"])
def test_a_closed_pipe_or_a_full_disk_behind_standard_output_is_no_traceback(target):
    code = HEAD + "verb(lambda: print('x' * 100_000) or 0, 'report')"
    shell = f'{sys.executable} -c "$CODE" {target}; echo status ${{PIPESTATUS[0]}} >&2'
    environment = os.environ | {"CODE": code}
    options = {"capture_output": True, "text": True, "env": environment, "timeout": 60}
    done = subprocess.run(["bash", "-c", shell], **options)
    assert done.stderr.endswith("status 1\n") and done.stderr.count("\n") <= 2, done.stderr
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr


def test_a_signal_within_a_callback_of_the_garbage_collector_is_not_lost():
    """Where a handler that raises is ignored: Python drops exceptions of such callbacks."""

    def callback(phase, information):
        if phase == "start" and not signals.requested():
            os.kill(os.getpid(), signal.SIGTERM)

    with signals.Listener():
        gc.callbacks.append(callback)
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(callback)
        with pytest.raises(signals.Stopped):
            signals.poll()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_from_python_ctrl_c_raises_once_saved_and_the_second_at_once(monkeypatch):
    monkeypatch.setattr(signals, "SAME_REQUEST_SECONDS", 0.0)
    saved = []

    def train():
        with signals.saving():
            os.kill(os.getpid(), signal.SIGINT)
            signals.poll()  # while something is saved, nothing raises
            saved.append(signals.requested())
            signals.stop("stopped at step 3")

    with pytest.raises(KeyboardInterrupt, match="at step 3"), signals.interruptible():
        train()
    assert saved == [True]
    with pytest.raises(KeyboardInterrupt), signals.interruptible():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_neither_listen_nor_stop():
    def work():
        with signals.Listener():
            signals.poll()
            done.append(signals.requested())

    done: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [False]


def test_an_ignored_signal_stays_ignored():
    """As in a shell script that starts the command with `&`, or under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.Listener():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0)
            assert not signals.requested()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_documented_statuses_are_these():
    """The table of docs/runs.md and that of the command name the same ones."""
    from pathlib import Path

    page = (Path(__file__).parents[1] / "docs/runs.md").read_text()
    table = page.partition("| exit status | |")[2].partition("\n\n")[0]
    listed = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    documented = [
        line.split("|")[1].strip()
        for line in (command.__doc__ or "").splitlines()
        if line.startswith("| ") and line.split("|")[1].strip().isdecimal()
    ]
    assert listed == documented == ["0", "1", "2", "130"]
