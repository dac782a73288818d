"""What the documents show is what `kd table` prints from the published results, to the letter; and
experiments are whole.
"""

import re
from pathlib import Path

import pytest

from benchmarks import document
from kd.tables import experiment, gather, plan

ROOT = Path(__file__).parents[1]
PUBLISHED = sorted((ROOT / "experiments" / "results").glob("*.json"))
CLAIMS = sorted((ROOT / "experiments" / "claims").glob("*.py"))  # see claims_test.py
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
NAMES = [
    (document, name)
    for document, text in DOCUMENTS.items()
    for name in re.findall("^<!-- table: (.*?) -->$", text, re.MULTILINE)
]
TABLES = DOCUMENTS["docs/tables.md"]


@pytest.mark.parametrize(("document_", "name"), NAMES)
def test_each_table_is_published_or_measured(document_, name):
    experiment = name.partition(": ")[0]  # what follows is the title of one of its tables
    published = ["claims", *(path.stem for path in (*PUBLISHED, *CLAIMS))]
    measured = [f"benchmarks/{x}" for x in document.TABLES]
    assert document_ in document.DOCUMENTS or not name.startswith("benchmarks/")
    assert experiment in [*measured, *published], document_


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_documents_show_what_the_engine_prints(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert f"<!-- table: {path.stem} -->" in TABLES
    for name, text in DOCUMENTS.items():
        if re.search(f"^<!-- table: {path.stem}(: .*)? -->$", text, re.MULTILINE):
            stem, dash, argument = path.stem.partition("-")
            reference = f"experiments/{stem}.py" + (f":{argument}" if dash else "")
            assert gather.as_published(text, reference) == text, (
                f"write it anew: kd table {reference} --print --runs none --into {name}"
            )


@pytest.mark.parametrize(
    "reference",
    [
        "experiments/hinton2015_mnist.py",
        "experiments/hinton2015_mnist.py:smoke",
        "experiments/hinton2015_temperatures.py",
        "experiments/hinton2015_temperatures.py:smoke",
        "experiments/hinton2015_choices.py",
        "experiments/hinton2015_choices.py:smoke",
        "experiments/hinton2015_longer.py",
        "experiments/hinton2015_longer.py:smoke",
        "experiments/fashion_mnist.py",
        "experiments/methods_choices.py",
        "experiments/teacher_free.py",
        "experiments/vit_small.py",
        "experiments/verified.py",
        "experiments/verified.py:smoke",
        "experiments/verified.py:fashion_mnist",
        "experiments/verified.py:fashion_mnist_cnn",
        "experiments/zskd2019_choices.py",
    ],
)
def test_experiments_can_be_planned(reference, monkeypatch, tmp_path):
    """Every config is read, every paper number has its source, every cell has a budget."""
    monkeypatch.chdir(ROOT)
    found = experiment.load(reference)
    runs = plan.make(found, tmp_path)
    assert all(cell.budget for cell in found.cells())
    for run in runs.values():
        for need in run.needs:
            seeds = runs[need].config.seeds
            assert seeds == run.config.seeds or run.config.teacher.members in ("all", "0")


def test_pictures_in_the_documents_are_there():
    pictures = [
        ROOT / Path(document).parent / picture
        for document, text in DOCUMENTS.items()
        for picture in re.findall(r"!\[.+\]\((.+?)\)", text)
    ]
    assert len(pictures) > 10 and all(picture.is_file() for picture in pictures)


def test_one_teacher_serves_all_of_hinton_2015(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    names = ("hinton2015_mnist", "hinton2015_temperatures")
    found = [experiment.load(f"experiments/{name}.py") for name in names]
    planned = [r for one in found for r in plan.make(one, tmp_path).values()]
    runs = {r.identity: r for r in planned}.values()
    teachers = [r for r in runs if r.config.student.widths == (1200, 1200)]
    assert len(teachers) == 1 and teachers[0].config.augment == "crop(2)"
    students = [r for r in runs if r not in teachers]
    assert len(students) == 23
    assert not any(r.config.augment for r in students)  # their images are never moved
    without = [r for r in runs if r.config.train_classes]
    assert all("ce" not in r.config.objective for r in without) and len(without) == 2
    assert not any(r.config.holdout for r in runs)


@pytest.mark.slow
def test_the_smoke_version_of_hinton_2015_runs_whole(monkeypatch, tmp_path, capsys):
    from kd.cli.main import main

    monkeypatch.chdir(ROOT)
    for name in ("hinton2015_mnist", "hinton2015_temperatures"):
        smoke = f"experiments/{name}.py:smoke"
        assert main(["table", smoke, "--runs", str(tmp_path), "--jobs", "2"]) == 0
        printed = capsys.readouterr()
        assert "missing" not in printed.out and "mean nothing" in printed.out
        assert (tmp_path / f"{name}-smoke.md").exists()


@pytest.mark.slow
def test_a_published_cell_of_the_digits_comes_out_again(monkeypatch, tmp_path, capsys):
    """`kd table --check` in earnest: five students from labels, trained anew, against the published
    numbers. They were trained on another machine, so equal bits are not asked for.
    """
    from kd.cli.main import main

    monkeypatch.chdir(ROOT)
    cell = ["--only", "role=labels,labelled=256"]
    assert main(["table", "experiments/labels.py", "--check", *cell, "--runs", str(tmp_path)]) == 0
    line = capsys.readouterr().out
    assert "student from labels, 256 labels, accuracy: published 95.06 ± 0.30 (n = 5)" in line
    assert "(n = 5); the difference" in line and "is within two standard errors" in line
    assert (tmp_path / "check-1").is_dir()
