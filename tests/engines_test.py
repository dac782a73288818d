"""Engines: what they are asked for, what they refuse, what is tried again; with Slurm's commands
played by a quick program. `slurm_test.py` and `ray_test.py` have real clusters.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from table_test import at_home, kd

from kd import engines
from kd.cli.main import main
from kd.engines import each, places, records, slurm
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.tables import jobs

SBATCH = '''#!{python}
"""Keeps what it is asked for; with `--run`'s file there, computes it at once."""
import json, os, subprocess, sys
from pathlib import Path
arguments = sys.argv[1:]
if "--test-only" in arguments:
    if any("nowhere" in word for word in arguments):
        sys.exit("sbatch: error: invalid partition specified: nowhere")
    sys.exit(0)
asked = Path("{home}/asked.jsonl")
number = 100 + len(asked.read_text().splitlines()) if asked.exists() else 100
options = [word for word in arguments if word.startswith("--")]
script = next(i for i, word in enumerate(arguments) if word.endswith(".sh"))
row = dict(number=number, options=arguments[:script], command=arguments[script + 1 :])
row["script"] = Path(arguments[script]).read_text()
with asked.open("a") as file:
    file.write(json.dumps(row) + "\\n")
print(number)
'''


@pytest.fixture
def home(tmp_path, small_data, monkeypatch):
    at_home(tmp_path, small_data, monkeypatch)
    commands = tmp_path / "bin"
    commands.mkdir()
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    program(commands, "sbatch", SBATCH.format(python=sys.executable, home=tmp_path))
    program(commands, "squeue", f"#!/bin/sh\ncat {tmp_path}/queue 2>/dev/null; exit 0\n")
    program(commands, "scancel", "#!/bin/sh\nexit 0\n")
    program(commands, "sinfo", f"#!/bin/sh\ncat {tmp_path}/nodes 2>/dev/null; exit 0\n")
    return tmp_path


def program(folder, name, text):
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def asked():
    rows = map(json.loads, Path("asked.jsonl").read_text().splitlines())
    return {row["command"][row["command"].index("--config") + 1]: row for row in rows}


def refused(capsys, *arguments):
    assert kd(*arguments) == 2
    assert not Path("asked.jsonl").exists() and not Path("order.txt").exists()
    return capsys.readouterr().err


def test_slurm_gets_each_run_once_after_those_that_it_needs(home, capsys):
    assert kd("--on", "slurm", "--each", "gpus=1,cpus=4,time=4:00:00,partition=gpu") == 0
    rows = asked()
    assert [row["number"] for row in rows.values()] == [100, 101, 102, 103]
    teacher, student = rows["mini.py:role=teacher"], rows["mini.py:role=student"]
    assert teacher["number"] == 100 and "--dependency=afterok:100" in student["options"]
    assert not any("--dependency" in word for word in teacher["options"])
    for option in ("--gpus=1", "--cpus-per-task=4", "--time=4:00:00", "--partition=gpu"):
        assert option in student["options"]
    words = student["command"]
    assert words[words.index("--runs") + 1] == "runs" and words[-2:] == ["--stopped_status", "75"]
    assert "srun" in student["script"] and "scontrol requeue" in student["script"]
    assert not Path("order.txt").exists(), "nothing runs here"
    assert "4 jobs submitted" in capsys.readouterr().err


@pytest.mark.slow
def test_the_same_command_submits_what_is_missing(home, capsys):
    assert kd("--on", "slurm", "--only", "student") == 0
    Path("queue").write_text("100|RUNNING|None|node7\n101|PENDING|Dependency|\n102|PENDING|x|\n")
    capsys.readouterr()
    assert kd("--on", "slurm") == 0
    told = capsys.readouterr().err
    assert "mini.py:role=teacher: job 100, running on node7" in told and "1 job submitted" in told
    assert [row["number"] for row in asked().values()] == [100, 101, 102, 103]
    Path("queue").write_text("103|PENDING|Priority|\n")
    Path("runs/mini-role=teacher.log").write_text(
        "kd run: the loss is not finite\n  at step 3\n"
        "kd slurm: job 100, start 2: status 1, RUNNING\n"
    )
    main(["status", "mini_table.py"])
    printed = capsys.readouterr().out
    assert re.search("failed .*role=teacher: failed with status 1: the loss is not fin", printed)
    assert "queued   mini.py:role=labels: job 103, PENDING: Priority" in printed
    assert "failed   mini.py:role=student: mini.py:role=teacher, which it needs, failed" in printed
    assert kd("--on", "slurm") == 0
    assert "role=teacher: failed with status 1" in capsys.readouterr().err
    assert asked()["mini.py:role=teacher"]["number"] == 104
    assert "--dependency=afterok:104" in asked()["mini.py:role=student"]["options"]


@pytest.mark.slow
def test_slurm_runs_so_many_at_a_time_by_the_names_of_jobs(home):
    assert kd("--on", "slurm", "--jobs", "2") == 0
    options = [row["options"] for row in asked().values()]
    names = [next(word for word in row if word.startswith("--job-name")) for row in options]
    assert len(set(names)) == 2 and names[0] == names[2]
    assert "--dependency=afterok:100,singleton" in asked()["mini.py:role=student"]["options"]


def test_a_dry_run_says_what_would_be_submitted(home, capsys):
    assert kd("--on", "slurm", "--dry_run", "--each", "gpus=1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("4 runs to do") for line in lines)
    assert any("JOB3: sbatch" in line and "afterok:JOB1" in line for line in lines)
    assert not Path("asked.jsonl").exists() and not Path("runs").exists()


@pytest.mark.slow
def test_a_header_of_the_users_is_at_the_head_of_the_script(home):
    Path("head.sh").write_text("#!/bin/bash\n#SBATCH --account=me\nKD_PREFIX=(apptainer exec a)\n")
    assert kd("--on", "slurm", "--header", "head.sh") == 0
    lines = asked()["mini.py:role=labels"]["script"].splitlines()
    assert lines[:3] == ["#!/bin/bash", "#SBATCH --account=me", "KD_PREFIX=(apptainer exec a)"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--on", "slrum"), "unknown engine 'slrum'. Did you mean 'slurm'?"),
        (("--on", "slurm", "--each", "gpus"), "'gpus' is no KEY=VALUE"),
        (("--on", "slurm", "--each", "gpus="), "is no KEY=VALUE"),
        (("--on", "slurm", "--each", "gpus=one"), "gpus is 'one', expected a number"),
        (("--on", "slurm", "--each", "cpus=0"), "cpus is '0', expected a number from 1"),
        (("--on", "slurm", "--each", "time=soon"), "time is 'soon'"),
        (("--on", "slurm", "--each", "gpus=1,gpus=2"), "gpus occurs twice"),
        (("--on", "slurm", "--each", "9x=1"), "no KEY=VALUE"),
        (("--on", "slurm", "--each", "partition=nowhere"), "invalid partition specified: nowhere"),
        (("--on", "slurm", "--header", "none.sh"), "--header none.sh cannot be read"),
        (("--on", "slurm", "--address", "a:1"), "--address is for --on ray"),
        (("--on", "slurm", "--jobs", "0"), "--jobs: expected 1 or more"),
        (("--on", "slurm", "--retries", "-1"), "--retries: expected 0 or more"),
        (("--each", "gpus=1"), "--each is for a cluster"),
        (("--address", "auto"), "--address is for a cluster"),
    ],
)
def test_bad_input_submits_nothing(home, capsys, arguments, words):
    assert words in refused(capsys, *arguments)


def test_missing_engines_say_how_to_install_them(home, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "sbatch is not on the PATH" in refused(capsys, "--on", "slurm")
    monkeypatch.setattr("kd.extras.missing", lambda extra: [extra])
    assert "Install the extra 'ray'" in refused(capsys, "--on", "ray")


def test_a_directory_that_other_nodes_cannot_see_is_refused(home, capsys, monkeypatch):
    Path("nodes").write_text("node1\nnode2\n")
    monkeypatch.setattr(places, "OF_ONE_MACHINE", (str(home),))
    error = refused(capsys, "--on", "slurm")
    assert "other nodes, such as node1, cannot see it" in error and "gs://BUCKET" in error


def test_a_directory_that_is_mounted_or_exported_is_seen(tmp_path, monkeypatch):
    see = lambda: places.refuse_hidden(str(tmp_path / "runs"), ["node1"])
    monkeypatch.setattr(places, "EXPORTS", (str(tmp_path / "exports"),))
    with pytest.raises(InputError, match="cannot see it"):
        see()
    (tmp_path / "exports").write_text(f"{tmp_path}\tnode1(rw)\n")
    see()
    places.refuse_hidden("gs://bucket/runs", ["node1"])
    places.refuse_hidden("/tmp/runs", ["localhost"])


@pytest.mark.slow
def test_a_finished_experiment_submits_nothing(home, capsys):
    assert kd() == 0
    capsys.readouterr()
    assert kd("--on", "slurm") == 0
    assert "every run is finished" in capsys.readouterr().err and not Path("asked.jsonl").exists()


def test_status_names_who_waits_for_whom_and_why_a_run_failed(home, capsys):
    status = lambda *more: (main(["status", "mini_table.py:bad", *more]), capsys.readouterr().out)
    printed = status()[1]
    assert printed.count("missing  ") == 3
    assert "waiting  mini.py:role=student: for mini.py:role=teacher" in printed
    reason = "the loss is not finite at step 3"
    records.write(Workdir("runs/mini-role=bad"), engine="local", state="failed", reason=reason)
    for name in ("teacher", "labels", "student", "student,T=9"):
        run = Workdir(f"runs/mini-role={name}")
        run.path.mkdir(parents=True)
        run.write("result.json", {})
    code, printed = status("--all")
    assert code == 0 and printed.splitlines()[-1] == "6 runs: 4 done, 2 failed"
    assert "failed   mini.py:role=bad: the loss is not finite at step 3" in printed
    assert "failed   mini.py:role=orphan: mini.py:role=bad, which it needs, failed" in printed
    assert "done     mini.py:role=labels" in printed
    run = Workdir("runs/mini-role=labels")
    (run.path / "result.json").unlink()
    rows = [
        dict(kind="train", step=step, epoch=step // 10, seconds=2.0 * step) for step in (9, 10, 15)
    ]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with run.lock():
        line = next(x for x in status()[1].splitlines() if x.startswith("running"))
    assert "step 15, epoch 2 of 2, 6 s left" in line
    assert "stopped  mini.py:role=labels" in status()[1]


@pytest.mark.slow
def test_a_status_imports_no_jax(home):
    code = (
        "import sys; from kd.cli.main import main; status = main(sys.argv[1:])\n"
        "assert not {'jax', 'flax', 'matplotlib', 'ray'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "mini_table.py"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


class Scripted:
    """An engine whose runs end as a list says."""

    def __init__(self, ends):
        self.ends, self.started = list(ends), []

    def check(self, works): ...

    def shown(self, works):
        return []

    def start(self, work):
        self.started.append(work.reference)
        engine = self

        class Task:
            def poll(self):
                status = engine.ends.pop(0)
                if status == 0:
                    work.workdir.path.mkdir(parents=True, exist_ok=True)
                    (work.workdir.path / "result.json").write_text("{}")
                return engines.Ended(status)

            def stop(self): ...

            def kill(self): ...

        return Task()

    def close(self): ...


def scripted(ends, retries, tell=lambda line: None):
    works = [
        engines.Work("a", Workdir("runs/a"), (), ()),
        engines.Work("b", Workdir("runs/b"), ("a",), ()),
    ]
    engine = Scripted(ends)
    settings = engines.Settings("runs", jobs=2, retries=retries)
    return jobs.run_all(works, engine, settings, tell), engine.started


@pytest.mark.parametrize("status", [75, 143, 137, None])
def test_what_was_stopped_killed_or_lost_is_started_again(tmp_path, monkeypatch, status):
    monkeypatch.chdir(tmp_path)
    told = []
    assert scripted([status, status, 0, 0], 2, told.append) == ({}, ["a", "a", "a", "b"])
    assert "1 run went on after a stop, 2 times in all" in told
    failed, started = scripted([status] * 3, 2) if not Path("runs/a/result.json").unlink() else ()
    assert started == ["a"] * 3 and failed["b"] == "a, which it needs, failed"
    assert "after it was started again 2 times" in failed["a"]


@pytest.mark.parametrize("status", [1, 2])
def test_what_failed_is_not_started_again(tmp_path, monkeypatch, status):
    monkeypatch.chdir(tmp_path)
    failed, started = scripted([status], 5)
    assert started == ["a"] and set(failed) == {"a", "b"}
    assert records.read(Workdir("runs/b"))["reason"] == "a, which it needs, failed"


def test_lists_in_brackets_stay_together():
    text = "nodelist=n[1,3-4],gpus=a100:2"
    assert each.parse(text) == {"nodelist": "n[1,3-4]", "gpus": "a100:2"}
    assert (
        each.parse("") == {} and each.memory("16G") == 16 * 2**30 and each.memory("5") == 5 * 2**20
    )


def test_every_engine_is_one_file_with_the_methods_of_its_kind():
    assert engines.names() == ["local", "ray", "slurm"]
    assert isinstance(engines.load("local", engines.Settings("runs")), engines.Starts)
    assert isinstance(slurm.Engine(engines.Settings("runs")), engines.Submits)
