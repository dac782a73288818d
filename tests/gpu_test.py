"""The quarter of an hour on a GPU: its script in dry runs, with a Python that only keeps a log, and
at toy size on a CPU; its budget by hand.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import quarter_hour
from kd.config import load

ROOT = Path(__file__).parents[1]
GPU = ROOT / "experiments" / "launch" / "gpu.sh"
BASH = shutil.which("bash") or "bash"
NOT_CARRIED = ("grain", "tensorflow_datasets", "array_record", "tensorflow", "beartype")
"""Packages that the work does without, so that they need not be brought to the machine."""


def imported(path):
    spec = importlib.util.spec_from_file_location("budget", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


budget = imported(GPU.with_name("budget.py"))


def gpu(*arguments, timeout=60, **environment):
    return subprocess.run(
        [BASH, str(GPU), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | environment,
    )


def test_a_dry_run_prints_the_most_valuable_first_and_runs_nothing():
    done = gpu("--dry_run", "--runs", "there", "--python", "python3", "--data", "a.npz")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace("\\", "").splitlines()
    assert "benchmarks throughput --only bfloat16" in lines[0]
    assert "XLA_FLAGS= --xla_gpu_enable_command_buffer= python3" in lines[1]
    assert "quarter_hour.py:precision=bfloat16,epochs=5,data=arrays,path=a.npz" in lines[3]
    assert lines[4].endswith("--runs there --publish") and "ceiling" in lines[-1]
    assert "quarter_hour" not in gpu("--dry_run", "--part", "measure").stdout
    assert "benchmarks" not in gpu("--dry_run", "--part", "train").stdout.splitlines()[0][:30]
    full = gpu("--dry_run", "--part", "full").stdout.splitlines()
    assert "benchmarks ceiling" in full[0] and "kd pack" in full[-1]


@pytest.mark.parametrize(
    "bad",
    [
        ["--seconds", "0"],
        ["--part", "half"],
        ["--precision", "half"],
        ["--fast"],
        ["--runs"],
        ["--data", "missing.npz"],
        ["--data", "a,b=c"],
    ],
)
def test_what_cannot_be_is_refused(bad):
    done = gpu(*bad)
    assert done.returncode == 2 and done.stderr.startswith("gpu.sh: ") and not done.stdout


@pytest.fixture
def fake(tmp_path):
    """A Python that keeps a log, fails at what it finds in `fails`, and hangs in a table if it
    finds `hang`, until SIGTERM.
    """
    script = tmp_path / "python"
    script.write_text(f"""#!{BASH}
cd {tmp_path}
trap 'echo saved >> log; exit 130' TERM
case "$*" in
*budget.py*) echo how=vmap,epochs=7; echo --xla_flag=1; exit ;;
*throughput*) echo measure >> log; [ ! -e fails ] || exit 3 ;;
*"kd table"*)
    echo "table $XLA_FLAGS" >> log
    [ ! -e hang ] || {{ touch hangs; sleep 60 & wait $!; }}
    ;;
esac
""")
    script.chmod(0o755)
    return script


def log_of(fake):
    return (fake.parent / "log").read_text().split()


def test_the_choice_is_made_once_and_its_flag_is_set(fake, tmp_path):
    where = ["--python", fake, "--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    assert gpu("--part", "train", "--toy", *where, XLA_FLAGS="").returncode == 0
    assert log_of(fake) == ["table", "--xla_flag=1"]
    (tmp_path / "results" / "choice").write_text("how=unroll,epochs=9\n")
    done = gpu("--part", "train", "--toy", *where, XLA_FLAGS="")
    assert "quarter_hour.py:toy,seeds=2,epochs=1,how=unroll,data=digits" in done.stdout.replace(
        "\\", ""
    )
    assert log_of(fake)[2:] == ["table"]


def test_failures_are_reported_at_the_end_and_the_rest_is_done(fake, tmp_path):
    (tmp_path / "fails").touch()
    where = ["--python", fake, "--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    done = gpu("--toy", *where, XLA_FLAGS="")
    assert done.returncode == 1 and "something failed" in done.stderr
    assert log_of(fake) == ["measure"] * 3 + ["table", "--xla_flag=1"]


def test_sigterm_and_the_end_of_the_time_reach_the_runs(fake, tmp_path):
    (tmp_path / "hang").touch()
    where = ["--python", fake, "--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    command = [BASH, str(GPU), "--toy", "--part", "train", *map(str, where)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (tmp_path / "hangs").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143 and log_of(fake)[-1] == "saved"
    (tmp_path / "log").unlink()
    done = gpu("--seconds", "1", "--toy", "--part", "train", *where)
    assert done.returncode == 75 and "the same command goes on" in done.stdout
    assert log_of(fake)[-1] == "saved"


def test_runs_are_kept_in_pieces_and_brought_back(fake, tmp_path):
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    (runs / "a").mkdir(parents=True)
    (runs / "a" / "large").write_bytes(os.urandom(17 * 2**20))
    where = ["--python", fake, "--results", tmp_path / "results", "--keep", kept]
    assert gpu("--toy", "--part", "train", "--runs", runs, *where).returncode == 0
    pieces = sorted(kept.iterdir())
    assert [piece.name for piece in pieces] == ["runs.tar.aa", "runs.tar.ab"]
    assert all(piece.stat().st_size <= 15 * 2**20 for piece in pieces)
    there = tmp_path / "elsewhere"
    assert gpu("--toy", "--part", "train", "--runs", there, *where).returncode == 0
    assert (there / "a" / "large").read_bytes() == (runs / "a" / "large").read_bytes()


def test_the_budget_fits_into_its_calls():
    for ms in (0.5, 1.0, 2.0, 3.0):
        measured = [piece for piece in budget.measurements() if not piece.spare]
        assert sum(budget.seconds(piece, ms) for piece in measured) <= budget.CALL
        epochs = budget.most_epochs(ms, budget.CALL)
        total = lambda n, ms=ms: sum(budget.seconds(p, ms) for p in budget.trainings(n))
        assert total(epochs) <= budget.CALL < total(epochs + 1)
    assert budget.most_epochs(3.0, 1.0) == budget.FEWEST
    assert budget.most_epochs(1e-6, 1e6) == budget.MOST


def test_the_budget_by_hand():
    """KD of ten epochs at 2 ms: a process, a program, reading, saving, ten evaluations, 7,820
    steps.
    """
    (kd,) = (piece for piece in budget.trainings(10) if " by KD" in piece.name)
    assert budget.seconds(kd, 2.0) == pytest.approx(8 + 40 + 6 + 3 + 10 * 0.4 + 7820 * 0.002)
    lines = budget.table().splitlines()
    assert lines[0] == "| call | piece | 1 ms | 2 ms | 3 ms |"
    assert all(line.count("|") == 6 for line in lines)


def test_the_fastest_form_is_chosen_with_its_flag(tmp_path):
    row = lambda how, seconds, **more: {
        "precision": "bfloat16",
        "seeds_how": how,
        "loop": "device",
        "updates": 2,
        "seconds": {"time": [9.0, seconds]},
        **more,
    }
    write = lambda folder, *rows: (folder / "throughput.json").write_text(
        json.dumps({"rows": rows})
    )
    # 2 ms an update; PyTorch's is of one student, and no form of kd.
    write(tmp_path, row("vmap", 0.005), row("unroll", 0.004), row("PyTorch", 0.001))
    epochs = budget.most_epochs(2.0, 345)
    chosen = budget.choose(tmp_path, 345)
    assert chosen == (f"precision=bfloat16,how=unroll,loop=device,epochs={epochs}", "")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "flag").write_text("--xla=\n")
    write(tmp_path / "other", row("vmap", 0.002, precision="default"))
    arguments, flag = budget.choose(tmp_path, 345)
    assert arguments.startswith("how=vmap,loop=device,epochs=") and flag == "--xla="
    assert budget.choose(tmp_path / "missing", 345)[0].startswith("precision=bfloat16,epochs=")


def test_the_students_share_the_teacher_of_the_table():
    """Its reference is that in the students' configs, with every option set."""
    given = "epochs=7,precision=bfloat16,how=vmap,loop=host,data=arrays,path=a.npz"
    (table,) = quarter_hour.get_experiment(given)["tables"]
    reference = lambda cell: (
        f"{cell['config']}:" + ",".join(f"{key}={value}" for key, value in cell["args"].items())
    )
    teacher = reference(table["rows"]["teacher"])
    for row in ("KD", "CRD"):
        config = load(reference(table["rows"][row]))
        assert config.teacher.config == teacher
        assert config.data.to_dict() == {"name": "arrays", "path": "a.npz"}
        assert (config.seeds_how, config.loop, config.precision) == ("vmap", "host", "bfloat16")


@pytest.mark.campaign
def test_the_work_is_done_at_toy_size_after_a_kill(tmp_path):
    """On a CPU, with images from arrays and without the packages that are not carried. Killed in
    the middle, in a run that may go on alone; the same command completes it.
    """
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in NOT_CARRIED:
        (blocked / f"{name}.py").write_text(f"raise ImportError({name!r})\n")
    random = np.random.default_rng(0)
    image = lambda n: random.integers(0, 256, (n, 16, 16, 3)).astype(np.uint8)
    label = lambda n: np.arange(n) % 10
    data = tmp_path / "tiny.npz"
    np.savez(data, x_train=image(96), y_train=label(96), x_test=image(40), y_test=label(40))
    runs, results = tmp_path / "runs", tmp_path / "results"
    where = ["--toy", "--data", data, "--runs", runs, "--results", results, "--seconds", 900]
    where += ["--python", sys.executable]
    environment = {"PYTHONPATH": f"{blocked}:{ROOT}"}
    process = subprocess.Popen(
        [BASH, str(GPU), *map(str, where)],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list(runs.glob("*/result.json")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = next(runs.glob("*/result.json"))
    before = first.read_bytes()
    measured = (results / "throughput.json").read_bytes()
    done = gpu(*where, timeout=900, **environment)
    assert done.returncode == 0, done.stderr
    assert "all done" in done.stdout and "| KD |" in done.stdout
    assert first.read_bytes() == before
    assert (results / "throughput.json").read_bytes() == measured
    assert len(list(runs.glob("*/result.json"))) == 4
