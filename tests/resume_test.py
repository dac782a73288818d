"""Interrupted runs end as uninterrupted ones do: bit for bit, with each step in the record once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from kd.cli.main import main
from kd.runs.networks import load_networks
from kd.runs.record import Record, read_rows
from kd.runs.workdir import Workdir
from kd.train.result import VARYING

LONG = ["--config.epochs=40", "--config.checkpoint.seconds=0.05"]


def assert_same(a, b):
    """All that two runs leave is equal, but for times."""
    for name in ("config.json", "origin.json"):
        assert a.read(name) == b.read(name)
    result = [{k: v for k, v in w.read("result.json").items() if k not in VARYING} for w in (a, b)]
    assert result[0] == result[1]
    rows = [[{k: v for k, v in r.items() if k != "seconds"} for r in read_rows(w)] for w in (a, b)]
    assert rows[0] == rows[1]
    np.testing.assert_array_equal(a.predictions()["logits"], b.predictions()["logits"])
    jax.tree.map(
        np.testing.assert_array_equal, load_networks(a).variables, load_networks(b).variables
    )


def test_sigterm_saves_and_the_same_command_goes_on(finished, small_config, capsys, monkeypatch):
    """A real signal, sent in the middle of the run; the run is the student of `small.py`, done
    before without a stop.
    """
    row = Record.row

    def row_and_signal(self, kind, step, *rest):
        row(self, kind, step, *rest)
        if step == 6 and kind == "train":
            os.kill(os.getpid(), signal.SIGTERM)

    command = ["run", "--config", "small.py", "--workdir", "cut"]
    with monkeypatch.context() as patch:
        patch.setattr(Record, "row", row_and_signal)
        assert main(command) == 0
    stopped = capsys.readouterr().out
    assert "stopped at step" in stopped and "same command goes on" in stopped
    cut = Workdir("cut")
    assert not cut.finished
    assert 6 <= max(row["step"] for row in read_rows(cut)) < 12
    assert main(command) == 0
    assert_same(cut, Workdir("runs/small"))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_outside_of_training_is_heard_too(finished, small_config, capsys, monkeypatch):
    """In the last evaluation, after the last checkpoint: the same command only evaluates, and
    nothing half-written is left.
    """
    write = Workdir.write

    def write_and_signal(self, name, content):
        if name == "predictions.npz":
            os.kill(os.getpid(), signal.SIGTERM)
        write(self, name, content)

    command = ["run", "--config", "small.py", "--workdir", "cut"]
    with monkeypatch.context() as patch:
        patch.setattr(Workdir, "write", write_and_signal)
        assert main([*command, "--stopped_status", "75"]) == 75
    assert "stopped outside of training" in capsys.readouterr().out
    cut = Workdir("cut")
    assert not cut.finished and not (cut.path / "predictions.npz").exists()
    assert main(command) == 0
    assert_same(cut, Workdir("runs/small"))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_during_the_last_dispatch_of_a_teacher_is_heard(small_config, capsys, monkeypatch):
    """The student that waits for it is not begun; the same command goes on with the results of the
    teacher.

    A launcher can ask for a status that tells such an end from a finished run's.
    """
    row = Record.row

    def row_and_signal(self, kind, step, *rest):
        row(self, kind, step, *rest)
        if step == 12 and kind == "test":
            os.kill(os.getpid(), signal.SIGTERM)

    teacher = Workdir("runs/small-teacher")
    with monkeypatch.context() as patch:
        patch.setattr(Record, "row", row_and_signal)
        command = ["run", "--config", "small.py", "--stopped_status", "75"]
        assert main(command) == 75
    assert "stopped at step 12 of 12" in capsys.readouterr().out
    assert not teacher.finished and not Workdir("runs/small").path.exists()
    assert main(["run", "--config", "small.py:teacher"]) == 0
    assert teacher.finished


def test_a_torn_last_line_of_the_record_is_mended(finished, small_config):
    """What a kill in the middle of a write leaves behind."""
    run = Workdir("runs/small")
    whole = read_rows(run)
    (run.path / "result.json").unlink()
    text = run.metrics.read_text()
    run.metrics.write_text(text + '{"kind": "train", "st')
    assert main(["run", "--config", "small.py"]) == 0
    assert read_rows(run) == whole


def start(workdir):
    command = [sys.executable, "-m", "kd", "run", "--config", "small.py:teacher", *LONG]
    with Path(f"{workdir}.err").open("ab") as errors:
        return subprocess.Popen(
            [*command, "--workdir", workdir],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_as_if_it_had_not_been(small_config):
    """Real processes and real kills (SIGKILL), at random moments of start, compilation, training
    and saving.
    """
    whole = start("whole")
    begin = time.monotonic()
    assert whole.wait(300) == 0, Path("whole.err").read_text()
    alone = time.monotonic() - begin
    draw = random.Random(0)
    cut, kills, moments = Workdir("cut"), 0, []
    while kills < 20:
        process = start("cut")
        # Early in the list whole runs' lengths are drawn, so that some kills hit training; the run
        # goes on in between.
        time.sleep(draw.uniform(0.1, alone))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        rows = read_rows(cut) if cut.path.exists() else []
        moments.append(rows[-1]["step"] if rows else 0)
        if cut.finished:  # it got to its end before the kill: begin anew, the kills go on
            assert_same(cut, Workdir("whole"))
            subprocess.run(["rm", "-rf", "cut"], check=True)
    process = start("cut")
    assert process.wait(300) == 0, Path("cut.err").read_text()
    assert_same(cut, Workdir("whole"))
    assert len({m for m in moments if m}) >= 3, f"too few kills in training: {moments}"


@pytest.mark.slow
def test_sigterm_to_a_process_saves_and_exits_cleanly(small_config):
    process = start("run")
    run = Workdir("run")
    deadline = time.monotonic() + 120
    while not (run.path.exists() and read_rows(run)) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    assert process.wait(60) == 0
    assert "Traceback" not in Path("run.err").read_text()
    steps = [int(p.name) for p in run.checkpoints.iterdir() if p.name.isdigit()]
    assert steps and max(steps) > 0
    assert start("run").wait(300) == 0 and run.finished
