"""Locks of run directories: leases where flock does not work, and how they are taken over."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from kd.errors import InputError
from kd.runs import lease, locks
from kd.runs.lease_files import files_of
from kd.runs.workdir import Workdir


@pytest.fixture
def leased(monkeypatch, tmp_path):
    monkeypatch.setenv(locks.VARIABLE, "lease")
    monkeypatch.chdir(tmp_path)
    return epath.Path(tmp_path / "run")


def names(directory):
    return [path.name for path in directory.iterdir()]


def age(path, seconds):
    """Lets a lease be of another machine, and renewed that many seconds ago."""
    path.write_text(path.read_text().replace('"machine": "', '"machine": "other '))
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_one_process_holds_a_lease_and_says_who_it_is(leased):
    run = Workdir(leased)
    with run.lock():
        holder = run.holder()
        assert holder["pid"] == os.getpid() and holder["host"] and holder["seconds"] < 100
        with (
            pytest.raises(locks.InUse, match=rf"in use by another process \(process {os.getpid()}"),
            Workdir(leased).lock(),
        ):
            pass
        run.check_lock()
        run.write("config.json", {})
    assert run.holder() is None and names(leased) == ["config.json"]


def test_a_directory_that_holds_nothing_is_removed(leased):
    with Workdir(leased / "deep").lock():
        assert (leased / "deep").exists()
    assert not leased.exists()


def test_an_old_lease_is_taken_over_and_its_process_writes_nothing_more(leased):
    first, second = Workdir(leased), Workdir(leased)
    with first.lock():
        age(leased / ".lease-1", lease.PERIOD - 60)
        with pytest.raises(locks.InUse), second.lock():
            pass
        age(leased / ".lease-1", lease.PERIOD + 1)
        assert first.holder() is None
        with second.lock():
            with pytest.raises(lease.TakenOver, match="taken over by another process"):
                first.write("result.json", {})
            second.write("config.json", {})
        with pytest.raises(lease.TakenOver):  # the second one has ended meanwhile
            first.write("result.json", {})
    assert names(leased) == ["config.json"]


def test_a_renewal_at_the_last_moment_keeps_the_lease(leased, monkeypatch):
    """The second process has judged the lease to be over, and made its file, when it is renewed."""
    with Workdir(leased).lock():
        age(leased / ".lease-1", lease.PERIOD + 1)
        files = files_of(leased)
        create = type(files).create

        def renewed_meanwhile(self, number):
            assert create(self, number)
            files.renew(1)
            return True

        monkeypatch.setattr(type(files), "create", renewed_meanwhile)
        with pytest.raises(locks.InUse), Workdir(leased).lock():
            pass
        assert files.numbers() == [1]


@pytest.mark.slow
def test_the_lease_of_an_ended_process_of_this_machine_is_over_at_once(leased):
    code = f"""
import os
from kd.runs.workdir import Workdir
with Workdir({str(leased)!r}).lock():
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert (leased / ".lease-1").exists()
    with Workdir(leased).lock():
        assert files_of(leased).numbers() == [1, 2]
    assert not leased.exists() or names(leased) == []


@pytest.mark.parametrize("text", ["soon", "0", "-5", "nan"])
def test_a_period_that_is_no_time_is_refused(leased, monkeypatch, text):
    monkeypatch.setenv(lease.VARIABLE, text)
    with pytest.raises(InputError, match=lease.VARIABLE), Workdir(leased).lock():
        pass


def test_the_file_system_decides_the_kind_of_lock(monkeypatch, tmp_path):
    assert locks.kind("gs://bucket/run") == "lease"
    for system, kind in (("nfs4", "lease"), ("fuse.sshfs", "lease"), ("ext4", "flock")):
        monkeypatch.setattr(locks, "mount", lambda directory, system=system: ("/", system))
        assert locks.kind(tmp_path) == kind
    monkeypatch.setenv(locks.VARIABLE, "flok")
    with pytest.raises(InputError, match="Did you mean 'flock'"):
        locks.kind(tmp_path)


def test_who_holds_a_local_directory_is_known(tmp_path):
    run = Workdir(tmp_path / "run")
    assert run.holder() is None
    with run.lock():
        assert run.holder()["pid"] == os.getpid()
    assert run.holder() is None


@pytest.mark.campaign
def test_a_process_that_was_stopped_for_longer_than_its_lease_ends_with_one_line(
    small_config, monkeypatch
):
    """Another one takes over and finishes, to the bits of a run that nobody disturbed."""
    command = [sys.executable, "-m", "kd", "run", "--config", "small.py:teacher", "--workdir"]
    long = ["--config.epochs=60", "--stopped_status", "75"]
    monkeypatch.setenv(locks.VARIABLE, "lease")
    monkeypatch.setenv(lease.VARIABLE, "4")
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first, run = subprocess.Popen([*command, "run", *long], **pipes), Workdir("run")
    while not (
        run.checkpoints.exists() and any(p.name.isdigit() for p in run.checkpoints.iterdir())
    ):
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)
    # A machine that is lost, not a process that has ended or could be asked.
    path = next(Path("run").glob(".lease-*"))
    path.write_text(path.read_text().replace('"machine": "', '"machine": "other '))
    second = subprocess.Popen([*command, "run", *long], **pipes)
    while not Path("run/.lease-2").exists():
        assert second.poll() is None, second.communicate()
        time.sleep(0.05)
    first.send_signal(signal.SIGCONT)
    printed, error = first.communicate(timeout=200)
    assert first.returncode == 75, (printed, error)
    said = [line for line in error.splitlines() if not line.startswith(("run:", "run ("))]
    assert len(said) == 1 and "taken over by another process" in said[0], error
    printed, error = second.communicate(timeout=300)
    assert second.returncode == 0, (printed, error)
    assert "Traceback" not in error
    assert subprocess.run([*command, "alone", *long], **pipes).returncode == 0
    for name in ("logits", "label"):
        np.testing.assert_array_equal(run.predictions()[name], Workdir("alone").predictions()[name])
    assert run.read("result.json")["weights"] == Workdir("alone").read("result.json")["weights"]
