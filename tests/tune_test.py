"""`kd tune`: what it refuses, and a search whose trials are played by a quick program."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from kd.cli.main import main
from kd.engines import Ended, Settings, Work
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.tables import jobs
from kd.tune import command, space, study

installed = pytest.mark.skipif(
    importlib.util.find_spec("optuna") is None, reason="Optuna is not installed (extra kd[tune])"
)

FAKE = '''
"""Stands in for `kd run`: its score is best at a learning rate of 0.03 and widths of (16,)."""
import json, math, sys
from pathlib import Path
value = lambda name: sys.argv[sys.argv.index(name) + 1]
setting = lambda key: next(w for w in sys.argv if w.startswith(f"--config.{key}=")).split("=")[1]
rate, smooth = float(setting("optimizer.learning_rate")), setting("objective.ce.smoothing")
assert setting("holdout") == "0.2"
run = Path(value("--workdir"))
run.mkdir(parents=True)
with Path("tried.txt").open("a") as file:
    file.write(f"{rate} {smooth}\\n")
if Path("fails").exists():
    Path("fails").unlink()
    print("kd run: the loss is not finite", file=sys.stderr)
    sys.exit(1)
score = 90 - 10 * abs(math.log10(rate / 0.03)) - (smooth != "0.1")
row = dict(kind="validation", step=1, epoch=0, seconds=1.0, accuracy=[score - 1, score + 1])
(run / "metrics.jsonl").write_text(json.dumps(row) + "\\n")
split = "test" if Path("leaks").exists() else "validation"
result = dict(split=split, final=dict(accuracy=[score - 1, score + 1]))
(run / "result.json").write_text(json.dumps(result))
'''

OVER = [
    "--over",
    "optimizer.learning_rate=1e-3..1e-1:log",
    "--over",
    "objective.ce.smoothing=0,0.1",
]


@pytest.fixture
def home(small_config, monkeypatch):
    Path("fake.py").write_text(FAKE)
    monkeypatch.setattr(jobs, "COMMAND", (sys.executable, "fake.py"))


def tune(*arguments):
    return main(["tune", "small.py:teacher", "--config.epochs=1", *arguments])


def tried():
    return Path("tried.txt").read_text().splitlines() if Path("tried.txt").exists() else []


@installed
@pytest.mark.slow
def test_trials_are_ordinary_runs_and_the_best_is_a_command(home, capsys):
    assert tune(*OVER, "--trials", "8", "--holdout", "0.2", "--jobs", "2") == 0
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 8 == len(tried()) and all("± 1.41" in row[3] for row in rows)
    scores = [float(row[3].split()[0]) for row in rows]
    assert scores == sorted(scores, reverse=True) and scores[0] > 80
    best = Workdir(f"runs/small-teacher-tune/trial{int(rows[0][0][2:]):03d}")
    assert best.finished
    command = printed.splitlines()[-1].split()
    assert command[:4] == ["kd", "run", "--config", "small.py:teacher"]
    assert f"--config.optimizer.learning_rate={rows[0][1]}" in command
    assert "--config.epochs=1" in command and "holdout" not in printed.splitlines()[-1]
    assert Path("runs/small-teacher-tune/trials.md").read_text() in printed


@installed
@pytest.mark.slow
def test_the_same_command_goes_on(home, capsys):
    assert tune(*OVER, "--trials", "2", "--holdout", "0.2") == 0
    Path("fails").touch()
    assert tune(*OVER, "--trials", "4", "--holdout", "0.2") == 0
    assert len(tried()) == 4
    printed = capsys.readouterr().out
    assert "failed: the loss is not finite" in printed
    assert tune(*OVER, "--trials", "4", "--holdout", "0.2") == 0 and len(tried()) == 4
    other = ["--over", "batch_size=16,32", "--trials", "4", "--holdout", "0.2"]
    assert tune(*other) == 2 and "has trials over" in capsys.readouterr().err


@installed
@pytest.mark.slow
def test_a_trial_that_saw_the_test_set_is_refused(home, capsys):
    Path("leaks").touch()
    assert tune(*OVER, "--trials", "1", "--holdout", "0.2") == 2
    assert "evaluated on the test set: nothing is chosen by it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--holdout", "0.2"), "--over is missing"),
        (("--over", "optimizer.learning_rate=1..1", "--holdout", "0.2"), "the range is empty"),
        (("--over", "optimizer.learning_rate=2..1", "--holdout", "0.2"), "the range is empty"),
        (("--over", "optimizer.learning_rate=0..1:log", "--holdout", "0.2"), "begins above 0"),
        (("--over", "optimizer.learning_rate=a..b", "--holdout", "0.2"), "both numbers"),
        (("--over", "optimizer.learning_rate=1..2:cubic", "--holdout", "0.2"), "unknown scale"),
        (("--over", "optimizer.learning_rate=", "--holdout", "0.2"), "two or more values"),
        (("--over", "optimizer.learning_rate=1,1", "--holdout", "0.2"), "each once"),
        (("--over", "optimizer.learning_rate", "--holdout", "0.2"), "expected KEY=RANGE"),
        (("--over", "optimizer.lerning_rate=1,2", "--holdout", "0.2"), "learning_rate"),
        (("--over", "batch_size=one,two", "--holdout", "0.2"), "batch_size"),
        (("--over", "seed=1,2", "--holdout", "0.2"), "not to be chosen"),
        (("--over", "holdout=0.1,0.2", "--holdout", "0.2"), "not to be chosen"),
        (("--over", "epochs=1,2", "--holdout", "0.2"), "--config.epochs fixes it"),
        (("--over", "batch_size=1,2", "--holdout", "0"), "Nothing is chosen by the test set"),
        (("--over", "batch_size=1,2"), "Nothing is chosen by the test set"),
        (("--over", "batch_size=1,2", "--holdout", "0.2", "--trials", "0"), "--trials: expected 1"),
        (("--over", "batch_size=1,2", "--holdout", "0.2", "--on", "rya"), "Did you mean 'ray'"),
        (("--over", "batch_size=1,2", "--holdout", "0.2", "--runs", "gs://b/r"), "--runs gs://b/r"),
    ],
)
def test_bad_input_tries_nothing(home, capsys, monkeypatch, arguments, words):
    monkeypatch.setattr("kd.extras.missing", lambda extra: [])
    assert tune(*arguments) == 2
    assert words in capsys.readouterr().err
    assert not tried() and not Path("runs").exists()


def checked(capsys, config, *overrides):
    """What is said of a search on `config` before it begins."""
    options = command.Options(config, ["batch_size=16,32"], holdout=0.2, overrides=overrides)
    command._check_values(options, space.parse(options.over))
    return capsys.readouterr().err


def test_a_teacher_that_saw_the_held_out_images_is_named(small_config, capsys):
    shutil.copy("small.py", "whole.py")
    text = small_config.read_text().replace("c.seeds = 2", "c.seeds, c.holdout = 2, 0.2")
    Path("held.py").write_text(text)
    for name, holdout in (("seen", 0.0), ("new", 0.2)):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "config.json").write_text(json.dumps(dict(holdout=holdout)))
    said = "the teacher, trains on the held-out images, too"
    for teacher, named in (
        ('config="whole.py:teacher"', ["whole.py:teacher"]),
        ('config="held.py:teacher"', []),
        ('run="runs/seen"', ["runs/seen"]),
        ('run="runs/new"', []),
        ('groups=(dict(run="runs/seen"), dict(config="held.py:teacher"))', ["runs/seen"]),
    ):
        small_config.write_text(text.replace('config="small.py:teacher"', teacher))
        lines = [line for line in checked(capsys, "small.py").splitlines() if said in line]
        assert [line.split()[2].rstrip(",") for line in lines] == named, teacher


def test_the_final_command_holds_nothing_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(arg=None):\n"
        "    options = dict(part.split('=') for part in (arg or '').split(',') if part)\n"
        "    return ConfigDict(dict(holdout=float(options.get('holdout', 0))))\n"
    )
    Path("fixed.py").write_text(Path("mine.py").read_text().replace("'holdout', 0)", "'', 0.1)"))
    final = lambda config, *words: command.final_command(
        command.Options(config, [], overrides=words), {"batch_size": "16"}
    )
    for config, expected in {
        "mine.py": "mine.py",
        "mine.py:holdout=0.1": "mine.py",
        "mine.py:role=labels,holdout=0.1,width=8": "mine.py:role=labels,width=8",
        "kd:fashion_mnist:holdout=0.1,width=8": "kd:fashion_mnist:width=8",
        "fixed.py:width=8": "fixed.py:width=8 --config.holdout=0",
    }.items():
        command_line = final(config, "--config.holdout=0.2")
        assert command_line == f"kd run --config {expected} --config.batch_size=16"


class Curves:
    """An engine whose runs evaluate at each look: the first is right often, the second seldom."""

    def check(self, works): ...

    def shown(self, works):
        return []

    def start(self, work):
        number = int(work.workdir.path.name)
        work.workdir.path.mkdir(parents=True)
        rows, accuracy, stopped = [], [90.0, 10.0][number], []

        class Task:
            def poll(self):
                if stopped:
                    return Ended(75)
                row = dict(kind="validation", step=len(rows), epoch=len(rows), seconds=1.0)
                rows.append(json.dumps(row | {"accuracy": [accuracy, accuracy]}) + "\n")
                (work.workdir.path / "metrics.jsonl").write_text("".join(rows))
                if len(rows) < 8:
                    return None
                result = dict(split="validation", final=dict(accuracy=[accuracy, accuracy]))
                work.workdir.write("result.json", result)
                return Ended(0)

            def stop(self):
                stopped.append(True)

            def kill(self): ...

        return Task()

    def close(self): ...


@installed
@pytest.mark.slow
def test_a_trial_whose_curve_is_below_the_median_is_stopped_early(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROWS_SECONDS", 0.0)
    monkeypatch.setattr(study, "POLL_SECONDS", 0.0)
    axes = space.parse(["rate=1,2"])
    trials = study.open_study(str(tmp_path / "study.journal"), axes, seed=0, startup=1)
    workdir = lambda number: Workdir(tmp_path / str(number))
    work = lambda number, values: Work("a.py", workdir(number), (), ())
    settings = Settings(str(tmp_path), jobs=1)
    study.Search(trials, axes, work, Curves(), settings, lambda line: None).run(2)
    best, pruned = study.outcomes(trials, axes, workdir)
    assert (best.number, best.state, best.mean) == (0, "done", 90.0)
    assert (pruned.number, pruned.state, pruned.mean) == (1, "pruned", 10.0)
    assert len(study.curve(workdir(1))) < 8


def test_without_optuna_it_says_how_to_install_it(home, capsys, monkeypatch):
    monkeypatch.setattr("kd.extras.missing", lambda extra: [extra])
    assert tune(*OVER, "--holdout", "0.2") == 2
    assert "Install the extra 'tune'" in capsys.readouterr().err


def test_numbers_are_whole_where_both_ends_are():
    (axis,) = space.parse(["--config.student.width=8..64:log"])
    assert axis.key == "student.width" and axis.whole_numbers and axis.ends == ("8", "64")
    (axis,) = space.parse(["a=-1e-3..2"])
    assert axis.ends == ("-0.001", "2.0") and not axis.whole_numbers
    with pytest.raises(InputError, match="occurs twice"):
        space.parse(["a=1,2", "a=3,4"])


@installed
@pytest.mark.campaign
def test_real_trials_choose_between_two_rates(small_config, capsys):
    """The second is far too high."""
    over = ["--over", "optimizer.learning_rate=0.1,1e9", "--holdout", "0.2", "--trials", "3"]
    assert tune(*over) == 0
    printed = capsys.readouterr().out
    assert "--config.optimizer.learning_rate=0.1" in printed.splitlines()[-1]
    run = next(Path("runs/small-teacher-tune").glob("trial*/result.json"))
    assert json.loads(run.read_text())["split"] == "validation"
