"""Tables on a real Slurm of one node, this machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slurm_cluster
from slurm_cluster import ask, until

from kd.runs.workdir import Workdir

pytestmark = pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing())

EXPERIMENT = """
def get_experiment(arg=None):
    configs = ["small.py:teacher", "small.py"]
    if arg == "bad":
        configs = ["small.py:bad", "small.py:orphan"]
    if arg == "long":
        configs = ["small.py:long", "small.py:pupil"]
    rows = {config: dict(config=config) for config in configs}
    return dict(title="Small", metric="errors", tables=[dict(title="Small", rows=rows)])
"""

MORE = """
    if arg == "bad":
        c.optimizer.update(learning_rate=1e12, weight_decay=1.0)
    if arg == "orphan":
        c.teacher = dict(config="small.py:bad")
    if arg == "long":
        c.epochs = 300
        c.teacher = dict()
        del c.objective["kd"]
    if arg == "pupil":
        c.teacher = dict(config="small.py:long")
    return c
"""


@pytest.fixture
def cluster(tmp_path_factory, small_config):
    home = tmp_path_factory.mktemp("slurm") / "c"
    Path("exp.py").write_text(EXPERIMENT)
    text = small_config.read_text().replace('dict(name="sgd"', 'ConfigDict(dict(name="sgd"')
    text = text.replace("learning_rate=0.1)", "learning_rate=0.1))")
    small_config.write_text(text.replace("\n    return c\n", MORE))
    with slurm_cluster.running(home) as environment:
        yield environment


def kd(environment, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "kd", *arguments], env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def jobs(environment):
    """State of each job by its number."""
    lines = ask(environment, "squeue", "--states=all", "--noheader", "--format=%i %T").split("\n")
    return dict(line.split() for line in lines if line)


def all_ended(environment):
    ends = ("COMPLETED", "FAILED", "CANCELLED")
    return lambda: all(state in ends for state in jobs(environment).values())


def equal(one, two):
    ours, theirs = Workdir(one), Workdir(two)
    np.testing.assert_array_equal(ours.predictions()["logits"], theirs.predictions()["logits"])
    assert ours.read("result.json")["weights"] == theirs.read("result.json")["weights"]


@pytest.mark.slow
def test_a_table_of_a_teacher_and_a_student_has_the_bits_of_local_runs(finished, cluster):
    """Submitted in one command, which returns; the same command and `kd status` show it."""
    status, _, error = kd(cluster, "table", "exp.py", "--on", "slurm", "--runs", "far")
    assert status == 0 and "2 jobs submitted" in error, error
    status, _, error = kd(cluster, "table", "exp.py", "--on", "slurm", "--runs", "far")
    assert status == 0 and "0 jobs submitted, 2 in the queue before" in error, error
    status, printed, error = kd(cluster, "status", "exp.py", "--runs", "far")
    assert status == 0 and re.search(r"(running|queued) .*small.py", printed), printed + error
    until(all_ended(cluster), "the jobs do not end", seconds=400)
    for name in ("small-teacher", "small"):
        equal(f"far/{name}", f"runs/{name}")
        assert "kd slurm: job" in Path(f"far/{name}.log").read_text()
    status, printed, error = kd(cluster, "table", "exp.py", "--on", "slurm", "--runs", "far")
    assert status == 0 and "every run is finished" in error and "missing" not in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "words"),
    [("partition=nowhere", "invalid partition"), ("cpus=64", "not available")],
)
def test_what_no_node_has_is_refused_at_once(cluster, option, words):
    status, _, error = kd(cluster, "table", "exp.py", "--on", "slurm", "--each", option)
    assert status == 2 and words in error, error
    assert not jobs(cluster)


@pytest.mark.campaign
def test_a_failed_teacher_is_named_and_its_student_never_starts(cluster):
    status, _, error = kd(cluster, "table", "exp.py:bad", "--on", "slurm")
    assert status == 0, error
    until(all_ended(cluster), "the jobs do not end", seconds=400)
    assert sorted(jobs(cluster).values()) == ["CANCELLED", "COMPLETED", "FAILED"]
    _, printed, _ = kd(cluster, "status", "exp.py:bad")
    assert re.search("failed .*small.py:bad: failed with status 1: .* not finite", printed)
    assert "failed   small.py:orphan: small.py:bad, which it needs, failed" in printed


def steps(run):
    folder = Path(run) / "checkpoints"
    return [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.exists() else []


@pytest.mark.campaign
def test_a_preempted_run_goes_on_and_a_cancelled_one_stays_cancelled(cluster):
    """By a partition of higher priority, which takes the node; then by the user."""
    each = ["--each", "cpus=2,partition=low"]
    status, _, error = kd(cluster, "table", "exp.py:long", "--on", "slurm", *each)
    assert status == 0, error
    until(lambda: len(steps("runs/small-long")) > 0, "the run does not start", seconds=200)
    script = Path("urgent.sh")
    script.write_text("#!/bin/bash\nsrun --ntasks=1 hostname\n")
    options = ["--partition=high", "--cpus-per-task=2", "--output=urgent.txt"]
    assert ask(cluster, "sbatch", "--parsable", *options, str(script)).strip()
    log = Path("runs/small-long.log")
    until(lambda: "start 1: status 75" in log.read_text(), "it is not preempted", log, 200)
    saved = max(steps("runs/small-long"))
    assert saved < 300 * 4
    until(lambda: Path("urgent.txt").exists(), "the urgent job does not run", seconds=200)
    number = re.search(r"job (\d+), start 1", log.read_text())[1]
    ask(cluster, "scontrol", "update", f"jobid={number}", "starttime=now")  # not in two minutes
    until(lambda: Workdir("runs/small-long").finished, "it does not go on", log, 400)
    pupil = Path("runs/small-pupil.log")
    until(lambda: len(steps("runs/small-pupil")) > 0, "the student does not start", pupil, 300)
    other = str(int(number) + 1)
    ask(cluster, "scancel", other)
    until(all_ended(cluster), "the jobs do not end", seconds=200)
    assert jobs(cluster)[other] == "CANCELLED" and not Workdir("runs/small-pupil").finished
    local = ["run", "--config", "small.py:long", "--runs", "local"]
    assert kd(os.environ, *local)[0] == 0
    equal("runs/small-long", "local/small-long")
    assert re.search("stopped .*small.py:pupil", kd(cluster, "status", "exp.py:long")[1])
