"""Disks that are full or turn read-only: one line, status 1, and the same command goes on."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_CONFIG

from kd.errors import RunError
from kd.files import writing
from kd.runs import checkpoint
from kd.runs.checkpoint import Checkpoints
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir
from kd.tables import figure
from kd.train.cache import _claim
from kd.types import DistillState


def full(*_: object, **__: object) -> None:
    """Stands in for whatever writes to a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


WORDS = "No space left on device. Make room: the same command then goes on."


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    for error in (OSError(errno.ENOSPC, "full"), ValueError("other"), KeyboardInterrupt()):
        expected = RunError if isinstance(error, OSError) else type(error)
        with pytest.raises(expected), writing.replacing(path) as part:
            part.write_text("half")
            raise error
        assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    with writing.replacing(path) as part:
        part.write_text("after")
    assert path.read_text() == "after" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full"),
        ValueError(
            "RESOURCE_EXHAUSTED: Failed to write 9 bytes to file 3: No space left on device"
        ),
        ExceptionGroup("several", [ValueError("x"), OSError(errno.ENOSPC, "full")]),
    ],
)
def test_a_full_disk_is_recognised_within_the_errors_of_libraries(error):
    with pytest.raises(RunError, match=WORDS), writing.refusals("there"):
        raise RuntimeError("closing failed, too") from error
    with pytest.raises(ZeroDivisionError), writing.refusals("there"):
        raise ZeroDivisionError


def test_every_writer_of_a_run_directory_says_it_in_one_line(tmp_path, monkeypatch):
    run = Workdir(tmp_path / "run")
    run.path.mkdir()
    monkeypatch.setattr(np, "savez", full)
    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(type(run.path), "write_text", full)
    for write in (
        lambda: run.write("result.json", {}),
        lambda: run.write("predictions.npz", {}),
        lambda: _claim(run.path, {"a": 1}),
        lambda: figure.save(type("Figure", (), {"savefig": full})(), tmp_path / "a.png"),
    ):
        with pytest.raises(RunError, match=WORDS):
            write()
        assert not list(run.path.iterdir())


@pytest.mark.parametrize("method", ["save", "wait", "close"])
def test_whatever_a_checkpoint_raises_is_one_line(tmp_path, monkeypatch, method):
    checkpoints = Checkpoints(tmp_path / "checkpoints")

    class Failing:
        def fail(self, *_, **__):
            raise ValueError("INTERNAL: it broke\n  at line 3")

        save_checkpointables_async = wait = close = fail

    checkpoints.close()
    monkeypatch.setattr(checkpoints, "_orbax", Failing())
    monkeypatch.setattr("kd.runs.checkpoint._parts", lambda state: {}, raising=True)
    with pytest.raises(RunError, match="could not be saved: INTERNAL: it broke"):
        getattr(checkpoints, method)(*([object.__new__(DistillState), 1] * (method == "save")))


def test_threads_that_write_on_after_a_failed_save_print_nothing(capsys, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    checkpoint._silence_late_writers.__wrapped__()
    for error in (RuntimeError("Event loop is closed"), RuntimeError("another"), OSError("x")):
        sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err.splitlines() == ["RuntimeError: another", "OSError: x"]


@contextlib.contextmanager
def disk(path: Path, kilobytes: int) -> Iterator[None]:
    """A file system of this size at `path`; skips where one cannot be mounted."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(path)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def start(home: Path, *options: str, before: tuple[str, ...] = ()) -> subprocess.Popen:
    command = [*before, sys.executable, "-m", "kd", "run", "--config", "small.py:teacher"]
    return subprocess.Popen(
        [*command, "--workdir", "run", *options],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def message(error: str) -> str:
    """The message of a failed run, its last line; before it are only lines about its progress."""
    *lines, last = error.splitlines()
    assert last.startswith("kd run: ") and all(line.startswith("run: ") for line in lines), error
    return last


def set_modes(directories: list[str], mode: int) -> None:
    for path in directories:
        with contextlib.suppress(FileNotFoundError):  # a checkpoint that was replaced meanwhile
            Path(path).chmod(mode)


def wait_for_rows(process: subprocess.Popen, run: Workdir, step: int) -> None:
    """Returns once the run has recorded a later step."""
    while not (run.metrics.exists() and any(row["step"] > step for row in read_rows(run))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.campaign
@pytest.mark.parametrize("kilobytes", [12, 60, 110, 160])
def test_a_run_on_a_full_disk_goes_on_once_there_is_room(tmp_path, small_data, kilobytes):
    """A real file system, which is full at the config, at the first or at a later checkpoint."""
    home = tmp_path / "disk"
    with disk(home, kilobytes):
        (home / "small.py").write_text(SMALL_CONFIG.replace("{data}", str(small_data)))
        _, error = start(home, "--config.epochs=40").communicate(timeout=300)
        assert message(error).endswith(WORDS), error
        subprocess.run(["mount", "-o", "remount,size=64m", str(home)], check=True)
        again = start(home, "--config.epochs=40")
        _, error = again.communicate(timeout=300)
        assert again.returncode == 0, error
        full_run = Workdir(home / "run")
        assert max(row["step"] for row in read_rows(full_run)) == 160
        assert not [p for p in full_run.path.iterdir() if p.name.endswith(".part")]


@pytest.mark.campaign
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_directory_that_turns_read_only_ends_the_run_within_seconds(small_config, seconds):
    """In mid-run, without a word: threads of libraries would wait for ten minutes."""
    tool = shutil.which("setpriv")
    if os.geteuid() == 0 and tool is None:
        pytest.skip("root may write everywhere, and setpriv is not installed")
    lowered = (tool, "--bounding-set=-dac_override,-dac_read_search") if tool else ()
    before = lowered if os.geteuid() == 0 else ()
    options = ["--config.epochs=4000", f"--config.checkpoint.seconds={seconds}"]
    process, run = start(Path(), *options, before=before), Workdir("run")
    wait_for_rows(process, run, 0)
    directories = [path for path, _, _ in os.walk("run")]
    set_modes(directories, 0o555)
    try:
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
        set_modes(directories, 0o755)
    assert process.returncode == 1 and "Make it writable" in message(error), error
    process = start(Path(), *options)
    wait_for_rows(process, run, max(row["step"] for row in read_rows(run)))
    process.terminate()
    printed, error = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped at step" in printed, error
