"""Runs and tables in a bucket of a server that speaks Google's protocol, on loopback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gcs_server
import numpy as np
import pytest

from kd.runs import lease, locks
from kd.runs.workdir import Workdir
from kd.tables.forecast import _directories

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(gcs_server.MISSING), reason=f"not installed: {', '.join(gcs_server.MISSING)}"
    ),
]

EXPERIMENT = """
def get_experiment(arg=None):
    configs = ["small.py:teacher", "small.py"]
    rows = {config: dict(config=config) for config in configs}
    return dict(title="Small", metric="errors", tables=[dict(title="Small", rows=rows)])
"""


@pytest.fixture
def bucket(monkeypatch):
    with gcs_server.running() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        import fsspec
        import gcsfs

        fsspec.register_implementation("gcs", gcsfs.GCSFileSystem, clobber=True)
        gcsfs.GCSFileSystem.clear_instance_cache()
        from etils.epath import backend

        backend.fsspec_backend._get_filesystem.cache_clear()
        yield "gs://kd-bucket/runs"
        backend.fsspec_backend._get_filesystem.cache_clear()  # not the next test's


class Command:
    """`kd` as a process, which writes to a file."""

    def __init__(self, *arguments):
        self.log = Path(f"command-{time.monotonic_ns()}.txt")
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "kd", *arguments]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def end(self):
        """Waits for its end; the exit status."""
        return self.process.wait(timeout=400)

    @property
    def text(self):
        return self.log.read_text()


def test_a_run_in_a_bucket_is_killed_goes_on_and_teaches(finished, bucket):
    """With the bits of local runs; the table that goes on keeps its logs in the bucket, too."""
    first = Command("run", "--config", "small.py:teacher", "--runs", bucket)
    teacher, student = Workdir(f"{bucket}/small-teacher"), Workdir(f"{bucket}/small")
    while not (teacher.checkpoints.exists() and any(map(is_complete, saved(teacher)))):
        assert first.process.poll() is None, first.text
        time.sleep(0.2)
    first.process.send_signal(signal.SIGKILL)
    first.end()
    assert teacher.metrics.exists() and not teacher.finished, first.text

    Path("exp.py").write_text(EXPERIMENT)
    forecast = Command("table", "exp.py", "--runs", bucket, "--dry_run")
    assert forecast.end() == 0 and "small.py:teacher, resumed" in forecast.text, forecast.text
    table = Command("table", "exp.py", "--runs", bucket)
    assert table.end() == 0, table.text
    for far, near in ((teacher, "runs/small-teacher"), (student, "runs/small")):
        ours, theirs = far.read("result.json"), Workdir(near).read("result.json")
        assert ours["weights"] == theirs["weights"]
        logits = Workdir(near).predictions()["logits"]
        np.testing.assert_array_equal(far.predictions()["logits"], logits)
        assert not [path for path in far.path.iterdir() if path.name.startswith(".lease")]
    names = {path.name for path in student.path.parent.iterdir()}
    assert {"small.log", "small-teacher.log", "exp.md", "exp.csv", "exp.png"} <= names
    known = [directory.path.name for directory in _directories(bucket) if directory.finished]
    assert known == ["small", "small-teacher"], "a forecast looks at them"
    status = Command("status", "exp.py", "--runs", bucket)
    assert status.end() == 0 and "2 runs: 2 done" in status.text
    assert not list(Path().glob("gs*")), "a bucket is no local directory"


def saved(run):
    try:
        return list(run.checkpoints.iterdir())
    except FileNotFoundError:
        return []


def is_complete(checkpoint):
    return checkpoint.name.isdigit() and (checkpoint / "commit_success.txt").exists()


def test_a_lease_in_a_bucket_is_made_on_a_condition(bucket, monkeypatch):
    run = Workdir(f"{bucket}/held")
    with run.lock():
        assert run.holder()["pid"] == os.getpid()
        with pytest.raises(locks.InUse, match=str(os.getpid())), Workdir(str(run.path)).lock():
            pass
        run.check_lock()
        taken = lease.files_of(run.path)
        assert not taken.create(1) and taken.create(2)  # as another process would
        with pytest.raises(lease.TakenOver):
            run.check_lock()
        with pytest.raises(lease.TakenOver):
            run.write("result.json", {})
    assert not run.finished and taken.numbers() == [2]
