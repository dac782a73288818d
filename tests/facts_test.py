"""Figures of a table against facts of its runs: stored, counted again in old runs, or left out."""

import json
from pathlib import Path

import pytest

import kd
from kd.errors import InputError
from kd.runs import data_counts
from kd.runs.workdir import Workdir
from kd.tables import experiment, facts, figure, gather, plan, published

ROOT = Path(__file__).parents[1]
COUNTS = {"training_examples": 100, "labelled_examples": 100}


def without_counts(workdir):
    """Makes the result of a run one of an earlier version."""
    content = json.loads((workdir.path / "result.json").read_text())
    for key in (*COUNTS, "digests"):
        content.pop(key, None)
    (workdir.path / "result.json").write_text(json.dumps(content))


def test_a_run_records_its_images_and_an_old_one_is_counted_in_its_data_alone(
    finished, small_data, tmp_path
):
    workdir = Workdir("runs/small")
    result = workdir.read("result.json")
    assert {key: result[key] for key in COUNTS} == COUNTS
    assert facts.of_result(result) == {"members": 2}
    assert facts.of_result(Workdir("runs/small-teacher").read("result.json")) == {"members": 0}
    without_counts(workdir)
    assert data_counts.of_finished(workdir) == COUNTS
    # With other training images it is not known how many there were.
    config = json.loads((workdir.path / "config.json").read_text())
    config["holdout"] = 0.5
    (workdir.path / "config.json").write_text(json.dumps(config))
    assert data_counts.of_finished(workdir) == {}
    config["data"]["path"] = "gone.npz"
    (workdir.path / "config.json").write_text(json.dumps(config))
    assert data_counts.of_finished(workdir) == {}


def test_the_learning_curve_of_the_digits_is_drawn_against_labels(monkeypatch, tmp_path):
    """Also from results that were published before they had the number of labels."""
    monkeypatch.chdir(ROOT)
    drawn = []
    monkeypatch.setattr(figure, "save", lambda figure, path: drawn.append((figure, path)))
    curve = experiment.load("experiments/labels.py")
    runs = plan.make(curve, tmp_path)
    content = published.read(curve.published)
    numbers = gather.gather(curve, runs, content, tell=print)
    figure.against(curve, numbers.entries, runs, tmp_path)
    ((picture, path),) = drawn
    (axis,) = picture.axes
    assert path.name == "labels-labelled.png"
    assert axis.get_xscale() == "log" and axis.get_xlabel() == "training images with a label"
    assert axis.get_ylabel() == "accuracy (%)"
    assert [text.get_text() for text in axis.get_xticklabels()][-2:] == ["512", "1,437"]
    lines = [container.lines[0] for container in axis.containers]
    for line in lines:
        assert line.get_xdata().tolist() == [32, 64, 128, 256, 512, 1437]
    # A run whose number of labels nobody knows is named, and left out.
    monkeypatch.setattr(data_counts, "of_published", lambda config, facts: {})
    for entry in (e for table in numbers.entries for e in table if e.facts):
        entry.facts.pop("labelled_examples", None)
    told = []
    figure.against(curve, numbers.entries, runs, tmp_path, told.append)
    assert not drawn[1:] and len(told) == 24 and "how many training images with a label" in told[0]


@pytest.mark.parametrize(
    ("name", "label"), [("choices", "held-out error %"), ("longer", "test error %")]
)
def test_curves_say_whether_the_images_were_held_out(name, label, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    drawn = []
    monkeypatch.setattr(figure, "save", lambda figure, path: drawn.append(figure))
    found = experiment.load(f"experiments/hinton2015_{name}.py")
    runs = plan.make(found, tmp_path)
    for run in runs.values():
        run.workdir.path.mkdir(parents=True, exist_ok=True)
        row = dict(kind="test", seconds=1, accuracy=[0.9, 0.8])
        rows = [json.dumps(row | dict(step=e, epoch=e)) + "\n" for e in (0, 1)]
        run.workdir.metrics.write_text("".join(rows))
    figure.curves(found, runs, tmp_path / "curves.png")
    assert {axis.get_ylabel() for axis in drawn[0].axes if axis.lines} == {label}


def test_certified_accuracy_is_drawn_against_the_radius(monkeypatch, tmp_path):
    """A fact of each cell's metric; a cell whose metric has no radius is named, and left out."""
    monkeypatch.chdir(ROOT)
    drawn = []
    monkeypatch.setattr(figure, "save", lambda figure, path: drawn.append((figure, path)))
    found = experiment.load("experiments/verified.py")
    runs = plan.make(found, tmp_path)
    numbers = gather.gather(found, runs, published.read(found.published), tell=print)
    figure.against(found, numbers.entries, runs, tmp_path)
    ((picture, path),) = drawn
    (axis,) = picture.axes
    assert path.name == "verified-radius1.png" and axis.get_ylabel() == "certified (%)"
    for container in axis.containers:
        x, y = container.lines[0].get_data()
        assert x.tolist() == [4, 8, 16] and (y[:-1] > y[1:]).all()
    accuracy = facts.value("radius", {}, next(iter(runs.values())), "accuracy")
    assert accuracy is None and len(axis.containers) == len(found.tables[1].rows)


def test_a_fact_that_no_run_has_is_refused(tmp_path):
    file = tmp_path / "wrong.py"
    rows = "rows={'a': dict(config='x.py')}"
    file.write_text(
        f"def get_experiment(arg=None):\n return dict(tables=[dict(against='x', {rows})])"
    )
    with pytest.raises(InputError, match="labelled"):
        experiment.load(str(file))


def test_a_run_says_below_its_table_that_its_data_are_gone(finished):
    run = kd.load("runs/small")
    assert "stored results" not in run.table()
    config = Path("runs/small/config.json")
    content = json.loads(config.read_text())
    content["data"]["path"] = "gone.npz"
    config.write_text(json.dumps(content))
    last = kd.load("runs/small").table().splitlines()[-1]
    assert last.startswith("The table is of stored results: the data") and "are gone" in last
