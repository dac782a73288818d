"""Several processes: what they are told, and a whole run by two real ones, which talk through
gloo.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import two_processes

from kd.cli.main import main
from kd.devices import processes
from kd.errors import InputError
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir


def test_nothing_given_is_one_process():
    assert not processes.join(environment={})
    assert processes.is_writer()
    assert processes.any_of(True, False) == [True, False]


@pytest.mark.parametrize(
    ("given", "environment", "words"),
    [
        ({"processes": "2"}, {}, "coordinator, process not given"),
        ({}, {"JAX_COORDINATOR_ADDRESS": "a:1"}, "JAX_NUM_PROCESSES, JAX_PROCESS_ID"),
        ({"coordinator": "a:1", "processes": "2", "process": "2"}, {}, "0 to 1"),
        ({"coordinator": "a:1", "processes": "two", "process": "0"}, {}, "a number"),
        ({"coordinator": "a", "processes": "2", "process": "0"}, {}, "host:port"),
    ],
)
def test_what_is_missing_or_wrong_is_told(given, environment, words):
    with pytest.raises(InputError, match=words):
        processes.join(**given, environment=environment)


def test_a_refusal_of_the_writer_is_everyones():
    def act():
        raise InputError("not so")

    with pytest.raises(InputError, match="not so"):
        processes.write(act)


def test_the_command_refuses_half_of_the_flags(small_config, capsys):
    arguments = ["--config", "small.py", "--workdir", "new", "--processes", "2"]
    assert main(["run", *arguments]) == 2
    assert "--coordinator" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_are_one_run(finished, small_config):
    """Two devices in each: teachers trained data-parallel, then spread two by two; files are
    written once.
    """
    command = f"{sys.executable} -m kd run --config small.py --runs both --workdir two"
    mesh = ["--config.devices.teacher=2", "--config.devices.data=2"]
    statuses, told = two_processes.run(command.split(), mesh)
    assert statuses == [0, 0], told
    assert "distilled student" in told[0][0] and "distilled" not in told[1][0]
    for two, one in ("two", "runs/small"), ("both/small-teacher", "runs/small-teacher"):
        ours, theirs = Workdir(two), Workdir(one)
        np.testing.assert_allclose(
            ours.predictions()["logits"], theirs.predictions()["logits"], atol=1e-5
        )
        steps = [[row["step"] for row in read_rows(run)] for run in (ours, theirs)]
        assert steps[0] == steps[1]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_when_one_process_is_stopped_the_other_ends_within_seconds(small_config, victim, number):
    """A kill is noticed; SIGTERM, whose handler jax replaces, makes both save. Process 0 is the one
    that jax's own service runs in.
    """
    command = f"{sys.executable} -m kd run --config small.py:teacher --workdir two"
    options = ["--config.epochs=4000", "--stopped_status", "75"]
    both, run = two_processes.start(command.split(), options), Workdir("two")
    while not (run.metrics.exists() and read_rows(run)):
        assert all(process.poll() is None for process in both), two_processes.ends(both)
        time.sleep(0.05)
    both[victim].send_signal(number)
    begin = time.monotonic()
    statuses, told = two_processes.ends(both)
    assert time.monotonic() - begin < 60, "jax's heartbeats noticed it"
    assert "Traceback" not in told[1 - victim][1]
    if number == signal.SIGTERM:
        assert statuses == [75, 75], told
        assert "stopped at step" in told[0][0] and "stopped at step" in told[1][0]
    else:
        assert statuses[1 - victim] == 75, told
        assert f"process {victim} of this run is gone" in told[1 - victim][1]


@pytest.mark.campaign
def test_processes_of_which_one_was_killed_go_on_to_the_same_bits(small_config):
    """And one process alone, with as many devices or half of them, to the same up to rounding."""
    command = f"{sys.executable} -m kd run --config small.py:teacher --workdir".split()
    options = ["--config.epochs=60", "--stopped_status", "75"]
    both, run = two_processes.start([*command, "two"], options), Workdir("two")
    complete = lambda: (
        run.checkpoints.exists() and any(path.name.isdigit() for path in run.checkpoints.iterdir())
    )
    while not complete():
        assert all(process.poll() is None for process in both), two_processes.ends(both)
        time.sleep(0.05)
    both[1].kill()
    statuses, told = two_processes.ends(both)
    assert statuses[0] == 75 and not run.finished, told
    for name in ("again", "alone", "half"):
        shutil.copytree("two", name)
    statuses, told = two_processes.run([*command, "again"], options)
    assert statuses == [0, 0], told
    statuses, told = two_processes.run([*command, "undisturbed"], options)
    assert statuses == [0, 0], told
    undisturbed = Workdir("undisturbed").predictions()["logits"]
    np.testing.assert_array_equal(Workdir("again").predictions()["logits"], undisturbed)
    for name, devices in (("alone", "4"), ("half", "2")):
        data = f"--config.devices.data={devices}"
        done = subprocess.run(
            [*command, name, *options, data],
            env=os.environ | {"JAX_NUM_CPU_DEVICES": devices},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        logits = Workdir(name).predictions()["logits"]
        np.testing.assert_allclose(logits, undisturbed, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_refusal_in_both_processes_is_no_peer_that_is_gone(small_config):
    command = f"{sys.executable} -m kd run --config small.py:teacher --workdir two"
    options = ["--config.batch_size=31", "--stopped_status", "75"]
    statuses, told = two_processes.run(command.split(), options)
    assert statuses == [2, 2], told
    assert all("batch_size" in error for _, error in told)
