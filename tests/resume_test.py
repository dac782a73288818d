"""Interrupted runs end as uninterrupted ones do: bit for bit, with each step in the record once."""

import contextlib
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
from conftest import SMALL_CONFIG

import kd
from kd.cli.main import main
from kd.runs.networks import load_networks
from kd.runs.record import read_rows
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


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_resumes(finished, small_config, capsys, stopped_at):
    """A real signal, sent in the middle of the run; the run is the student of `small.py`, done
    before without a stop.
    """
    command = ["run", "--config", "small.py", "--workdir", "cut"]
    with stopped_at(step=6):
        assert main(command) == 0
    stopped = capsys.readouterr().out
    assert "stopped at step" in stopped and "same command resumes" in stopped
    cut = Workdir("cut")
    assert not cut.finished
    assert 6 <= max(row["step"] for row in read_rows(cut)) < 12
    assert main(command) == 0
    assert_same(cut, Workdir("runs/small"))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.slow
def test_ctrl_c_in_python_saves_and_raises(finished, small_config, stopped_at):
    """As in a notebook; the same call then resumes."""
    stops = pytest.raises(KeyboardInterrupt, match=r"stopped at step .* saved")
    with stopped_at(step=6, number=signal.SIGINT), stops:
        kd.run("small.py", workdir="cut")
    assert not Workdir("cut").finished
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    kd.run("small.py", workdir="cut")
    assert_same(Workdir("cut"), Workdir("runs/small"))


@pytest.mark.slow
def test_sigterm_outside_of_training_stops_the_run(finished, small_config, capsys, monkeypatch):
    """In the last evaluation, after the last checkpoint: no file is left half-written, and the
    same command only evaluates.
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


@pytest.mark.slow
def test_sigterm_during_the_teachers_last_dispatch_stops_before_the_student(
    small_config, capsys, stopped_at
):
    """The same command then writes the results of the teacher.

    With --stopped_status a launcher can distinguish a stopped run from a finished one.
    """
    teacher = Workdir("runs/small-teacher")
    with stopped_at(step=12, kind="test"):
        command = ["run", "--config", "small.py", "--stopped_status", "75"]
        assert main(command) == 75
    assert "stopped at step 12 of 12" in capsys.readouterr().out
    assert not teacher.finished and not Workdir("runs/small").path.exists()
    assert main(["run", "--config", "small.py:teacher"]) == 0
    assert teacher.finished


@pytest.mark.slow
def test_a_torn_last_line_of_the_record_is_repaired(finished, small_config):
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


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, small_data) -> tuple[Path, float]:
    """A working directory with the run that was not interrupted, and how many seconds it took."""
    home = tmp_path_factory.mktemp("uninterrupted")
    (home / "small.py").write_text(SMALL_CONFIG.replace("{data}", str(small_data)))
    with contextlib.chdir(home):
        begin = time.monotonic()
        assert start("run").wait(300) == 0, Path("run.err").read_text()
        return home, time.monotonic() - begin


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(10))
def test_a_killed_run_ends_as_an_uninterrupted_one(uninterrupted, small_config, seed):
    """Real processes and real kills (SIGKILL): one at a random moment of start, compilation,
    training or saving, and one during training; the run goes on in between.
    """
    reference, seconds = uninterrupted
    draw, run = random.Random(seed), Workdir("cut")
    for wait_for_training in (False, True):
        process = start("cut")
        begin = time.monotonic()
        steps = len(read_rows(run)) if run.path.exists() else 0
        while wait_for_training and process.poll() is None:
            if run.path.exists() and len(read_rows(run)) > steps:
                break
            assert time.monotonic() - begin < 300
            time.sleep(0.01)
        time.sleep(draw.uniform(0.1, 1.0 if wait_for_training else seconds))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() in (0, -signal.SIGKILL)
    assert start("cut").wait(300) == 0, Path("cut.err").read_text()
    assert_same(run, Workdir(reference / "run"))


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
