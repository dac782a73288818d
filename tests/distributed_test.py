"""Several processes: what they are told, and a whole run by two real ones, which talk through
gloo.
"""

import sys

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
