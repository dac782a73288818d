"""Published results of several machines in one file, and a published cell that is run again."""

import json
import os
import re
from pathlib import Path

import pytest

from kd.cli.main import main
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.tables import experiment, merge, plan, published, recheck
from tests.table_test import at_home

ROLES = ("teacher", "labels", "student", "student,T=9")


@pytest.fixture
def home(tmp_path, small_data, monkeypatch):
    at_home(tmp_path, small_data, monkeypatch)
    return plan.make(experiment.load("mini_table.py"), os.devnull)


def entry(runs, role, values, commit="a" * 40, weights=None, teacher=None):
    run = runs[f"mini.py:role={role}"]
    trained_from = {"trained_from": {"teacher 0": teacher}} if teacher else {}
    facts = {"identity": run.identity, "git_commit": commit, "weights": weights, **trained_from}
    return {run.reference: {**facts, "values": {"errors": values}}}


def write(name, *entries):
    published.write(Path(name), {key: value for part in entries for key, value in part.items()})


def kd(*arguments):
    return main(["table", "mini_table.py", *arguments])


def test_files_of_two_machines_are_one_table(home, capsys):
    write("a.json", entry(home, "teacher", [1, 3], weights="t"), entry(home, "labels", [6, 6]))
    write("b.json", entry(home, "student", [3, 4], teacher="t"), entry(home, "labels", [6, 6]))
    assert kd("--merge", "a.json", "b.json") == 0
    captured = capsys.readouterr()
    assert "3 of 4 cells" in captured.err and "3.5 ± 0.7" in captured.out
    assert kd("--merge", "b.json") == 0  # what is there is kept
    assert sorted(json.loads(Path("results/mini_table.json").read_text())["runs"]) == [
        f"mini.py:role={role}" for role in ("labels", "student", "teacher")
    ]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (dict(role="labels", values=[6, 7]), "different numbers of errors"),
        (dict(role="student", values=[3, 4], teacher="u"), "trained from another mini.py:role=t"),
        (dict(role="student", values=[3, 4], commit="b" * 40), "--mixed_commits"),
    ],
)
def test_what_does_not_belong_together_is_refused(home, capsys, other, words):
    write("a.json", entry(home, "teacher", [1, 3], weights="t"), entry(home, "labels", [6, 6]))
    write("b.json", entry(home, **other))
    assert kd("--merge", "a.json", "b.json") == 2
    assert words in capsys.readouterr().err and not Path("results").exists()


def test_commits_are_mixed_when_asked_for(home):
    write("a.json", entry(home, "labels", [6, 6]))
    write("b.json", entry(home, "student", [3, 4], commit="b" * 40))
    assert kd("--merge", "a.json", "b.json", "--mixed_commits") == 0


def test_files_of_another_experiment_are_refused(home, capsys):
    other = entry(home, "labels", [6, 6])
    other["mini.py:role=labels"]["identity"] = "f" * 12
    write("a.json", other)
    assert kd("--merge", "a.json") == 2
    assert "by a config (hash ffffffffffff)" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"no file none\.json"):
        merge.merge(Path("results/x.json"), home, ["none.json"])


def test_what_two_files_say_of_one_run_is_joined_in_any_order(home):
    """Neither a number nor a contrast of the second file is lost."""
    contrast = {"value": 1.0, "low": 0.0, "high": 2.0, "p": 0.1}
    one, other = entry(home, "labels", [6, 6]), entry(home, "labels", [6, 6], weights="w")
    (a,), (b,) = one.values(), other.values()
    a["contrasts"] = {"x": contrast | {"tests": {"1.0": 0.5}}, "y": contrast}
    b["contrasts"] = {"x": contrast | {"tests": {"2.0": 0.6}}, "z": contrast}
    plain, student = contrast | {"tests": {"1.0": 0.1}}, contrast | {"few_seeds": "student"}
    a["contrasts"]["w"], b["contrasts"]["w"] = plain, student  # not of one kind of test
    b["values"] = b["values"] | {"accuracy": [85, 85]}
    write("a.json", one)
    write("b.json", other)
    for files in (("a.json", "b.json"), ("b.json", "a.json")):
        assert kd("--merge", *files) == 0
        (joined,) = json.loads(Path("results/mini_table.json").read_text())["runs"].values()
        assert joined["values"] == {"errors": [6, 6], "accuracy": [85, 85]}
        assert set(joined["contrasts"]) == set("wxyz") and joined["weights"] == "w"
        assert joined["contrasts"]["x"]["tests"] == {"1.0": 0.5, "2.0": 0.6}
        assert joined["contrasts"]["w"] == student
        Path("results/mini_table.json").unlink()


def test_a_run_that_was_trained_twice_is_refused(home, capsys):
    write("a.json", entry(home, "labels", [6, 6], weights="v"))
    write("b.json", entry(home, "labels", [6, 6], weights="w"))
    assert kd("--merge", "a.json", "b.json") == 2
    assert "with different weights" in capsys.readouterr().err and not Path("results").exists()


def test_results_that_are_there_are_not_lost(home, capsys):
    """Of another config of a run: refused. Of a run that the experiment no longer has: told of."""
    Path("results").mkdir()
    write("b.json", entry(home, "student", [3, 4]))
    old = entry(home, "labels", [6, 6])
    old["mini.py:role=labels"]["identity"] = "f" * 12
    write("results/mini_table.json", old)
    before = Path("results/mini_table.json").read_text()
    assert kd("--merge", "b.json") == 2
    assert "they would be lost" in capsys.readouterr().err
    assert Path("results/mini_table.json").read_text() == before
    write("c.json", entry(home, "labels", [6, 6]))
    assert kd("--merge", "b.json", "c.json") == 0  # the run of the new config takes its place
    write("results/mini_table.json", {"mini.py:role=gone": old["mini.py:role=labels"]})
    assert kd("--merge", "b.json") == 0
    assert "no longer part of the experiment: mini.py:role=gone" in capsys.readouterr().err


def test_a_file_without_results_is_refused(home, capsys):
    """One that another machine published, and the experiment's own where that is not there."""
    write("none.json")
    assert kd("--merge", "none.json") == 2
    assert "none.json has no results" in capsys.readouterr().err
    assert kd("--merge", "results/mini_table.json") == 2
    assert "there is no file results/mini_table.json" in capsys.readouterr().err
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("values", "status", "word"), [([6, 7], 0, "is within"), ([9, 9], 1, "NOT within")]
)
def test_a_published_cell_is_run_again(home, capsys, values, status, word):
    """Again the two seeds have 6 and 6 errors: 0.5 from 6.5 ± 0.7, whose standard error is 0.5."""
    Path("results").mkdir()
    write("results/mini_table.json", entry(home, "labels", values))
    assert kd("--check", "--runs", "again") == status
    line = capsys.readouterr().out
    assert f"{word} two standard errors" in line and "again 6.0 ± 0.0 (n = 2)" in line
    assert Path("again/check-1/mini-role=labels/result.json").exists()


def test_a_check_that_was_stopped_goes_on_with_its_cell(home, capsys, monkeypatch):
    """Where another draw would take another cell, and train another run."""
    Path("results").mkdir()
    known = entry(home, "labels", [6, 7]) | entry(home, "teacher", [5, 6])
    write("results/mini_table.json", known)
    monkeypatch.setattr("random.choice", lambda cells: cells[0])

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kd.tables.jobs.run_all", stop)
        assert kd("--check", "--runs", "again") == 130
    (cell,) = re.findall("checking (.*)", capsys.readouterr().err)
    monkeypatch.setattr("random.choice", lambda cells: cells[-1])
    assert kd("--check", "--runs", "again") in (0, 1)
    assert f"going on with the check of {cell}" in capsys.readouterr().err and "check-1" in cell
    assert kd("--check", "--runs", "again") in (0, 1)  # that one has its verdict: another draw
    assert cell not in capsys.readouterr().err and Path("again/check-2").exists()


def test_a_check_that_another_process_is_running_is_left_to_it(home, capsys, monkeypatch):
    Path("results").mkdir()
    write("results/mini_table.json", entry(home, "labels", [6, 7]))
    root = Path("again/check-1")
    (root / "mini-role=labels").mkdir(parents=True)
    found = experiment.load("mini_table.py")
    (cell,) = (c for c in found.cells() if c.reference == "mini.py:role=labels")
    recheck.begin(root, found, cell)
    monkeypatch.setattr(Workdir, "holder", lambda self: {"pid": 1})
    planned, content = plan.make(found, os.devnull), published.read(found.published)
    draw = lambda: recheck.draw("again", found, planned, content, [cell])
    assert draw()[0] == Path("again/check-2")
    monkeypatch.setattr(Workdir, "holder", lambda self: None)
    assert draw() == (root, cell)


def test_what_cannot_be_checked_is_refused(home, capsys):
    assert kd("--check") == 2
    assert "no such cell with two seeds or more" in capsys.readouterr().err
    assert kd("--check", "--publish") == 2
    assert kd("--check", "--on", "slurm") == 2
