"""Kinds of teacher and reductions as plug-ins: one file each, from the config to the report."""

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import kd.teachers
from kd.cli.main import main
from kd.errors import InputError
from kd.metrics import scores
from kd.runs.workdir import Workdir
from kd.teachers import kind, reduction
from kd.types import Outputs

SNAPSHOT = '''
"""The student of some updates ago."""

import jax
import jax.numpy as jnp

from kd.teachers.kind import Kind
from kd.types import Teacher


def make(context, every=2):
    """Learns from a copy of the student that is renewed every so many updates."""

    def apply(frozen, state, batch):
        return context.student.apply(state["copy"], batch["image"], train=False)

    def init(student):
        return {"copy": jax.tree.map(jnp.copy, student), "updates": jnp.zeros((), jnp.int32)}

    def update(state, student):
        updates = state["updates"] + 1
        renew = updates % every == 0
        copy = jax.tree.map(lambda new, old: jnp.where(renew, new, old), student, state["copy"])
        return {"copy": copy, "updates": updates}

    return Teacher(apply, init, update)


KIND = Kind(
    "snapshot",
    make,
    "the student of some updates ago",
    student_variables=lambda state: state["copy"],
    row="its snapshot",
)


def smoothed(context, smoothing=0.1):
    """The label, smoothed."""
    from kd.types import Outputs

    def apply(frozen, state, batch):
        p = jax.nn.one_hot(batch["label"], context.num_classes)
        return Outputs(jnp.log((1 - smoothing) * p + smoothing / context.num_classes))

    return Teacher(apply)


def hotter(context, factor=2.0):
    """Trained networks whose logits are divided by a factor."""
    import dataclasses

    def apply(frozen, state, batch):
        outputs = context.loaded.apply(frozen, state, batch)
        return dataclasses.replace(outputs, members=outputs.members / factor)

    return Teacher(apply)


HOTTER = Kind("hotter", hotter, needs_runs=True)
'''

MEDIAN = """
import jax.numpy as jnp
import numpy as np

from kd.teachers.reduction import Reduction
from kd.types import Outputs


def target(logits, weights, label):
    return Outputs(jnp.median(logits, axis=0))


median = Reduction("the median of their logits", target, lambda z, weights: np.median(z, axis=0))
"""


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """The working directory with modules of a user's own."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in (("my_teachers", SNAPSHOT), ("my_reductions", MEDIAN)):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def with_teacher(path, section):
    """Replaces the teacher of `small.py`'s student."""
    text = path.read_text()
    assert 'dict(config="small.py:teacher")' in text
    path.write_text(text.replace('dict(config="small.py:teacher")', section))


def run(*arguments) -> int:
    return main(["run", "--config", "small.py", *arguments])


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_a_new_file_is_a_kind(small_config, own_modules, monkeypatch, capsys):
    """A file in kd/teachers, named by its `KIND`; its settings are keys of `config.teacher`."""
    folder = own_modules / "teachers"
    folder.mkdir()
    (folder / "snapshot_of_student.py").write_text(SNAPSHOT)
    monkeypatch.setattr(kd.teachers, "__path__", [*kd.teachers.__path__, str(folder)])
    with_teacher(small_config, 'dict(name="snapshot")')
    assert run("--config.teacher.every=3", "--workdir", "w") == 0
    printed = capsys.readouterr().out
    assert "its snapshot" in printed
    workdir = Workdir("w")
    assert workdir.read("config.json")["teacher"]["every"] == 3
    final = workdir.read("result.json")["final"]
    logits = workdir.predictions()["teacher_logits"]
    accuracy = scores.accuracy(logits, workdir.predictions()["label"])
    assert final["teacher_accuracy"] == pytest.approx(list(accuracy))
    # Twelve updates: the fourth snapshot is the student itself.
    np.testing.assert_allclose(logits, workdir.predictions()["logits"], atol=1e-5)
    for argument, words in (
        ("cache=True", "config.teacher.cache = True is about networks of finished runs"),
        ("reduce=each", "(the student of some updates ago) uses none"),
        ("evry=3", "Did you mean 'every'?"),
        ("every=often", "often"),
    ):
        assert run(f"--config.teacher.{argument}", "--workdir", "refused") == 2
        assert words in capsys.readouterr().err
        assert not Path("refused").exists()
    capsys.readouterr()
    assert main(["report", "w", "--stored", "--out", "page"]) == 0
    monkeypatch.delitem(sys.modules, "kd.teachers.snapshot_of_student")


@pytest.mark.slow
def test_a_kind_by_its_dotted_path(finished, small_config, own_modules, capsys):
    """A `Kind`, a plain function, and one that changes what trained networks teach."""
    path = ["--config.teacher.config=", "--config.teacher.name=my_teachers.smoothed"]
    assert run(*path, "--config.teacher.smoothing=0.5", "--workdir", "smooth") == 0
    section = Workdir("smooth").read("config.json")["teacher"]
    assert (section["name"], section["smoothing"]) == ("my_teachers.smoothed", 0.5)
    assert "teacher" not in capsys.readouterr().out.partition("Results")[0]
    assert run("--config.teacher.name=my_teachers.HOTTER", "--workdir", "hot") == 0
    assert "teacher, mean of 2" in capsys.readouterr().out
    assert run("--config.teacher.name=my_teachers.HOTTR", "--workdir", "no") == 2
    assert "hotter" in capsys.readouterr().err
    losses = [
        json.loads(Workdir(name).metrics.read_text().splitlines()[0])["kd"]
        for name in ("hot", "runs/small")
    ]
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_a_median_is_one_entry(finished, small_config, own_modules, monkeypatch, capsys):
    """Trained, evaluated, printed and reported: nothing else knows its name."""
    entry = reduction.Reduction(
        "the median of their logits",
        lambda logits, weights, label: Outputs(jnp.median(logits, axis=0)),
        lambda logits, weights: np.median(logits, axis=0),
    )
    monkeypatch.setitem(reduction.REDUCTIONS, "median", entry)
    for name, reduce in (("entry", "median"), ("path", "my_reductions.median")):
        assert run(f"--config.teacher.reduce={reduce}", "--workdir", name) == 0
        printed = capsys.readouterr().out
        assert "every student learned from the median of their logits: members 0, 1" in printed
    by_entry, by_path = Workdir("entry").predictions(), Workdir("path").predictions()
    np.testing.assert_array_equal(by_entry["logits"], by_path["logits"])
    median = np.median(Workdir("runs/small-teacher").predictions()["logits"], axis=0)
    agreement = scores.agreement(by_entry["logits"], median)
    final = Workdir("path").read("result.json")["final"]
    assert final["agreement"] == pytest.approx(list(agreement))
    assert main(["report", "path", "--stored", "--out", "page", "--trust=my_reductions"]) == 0
    content = json.loads(Path("page/report.json").read_text())
    (run_of,) = content["runs"]
    assert run_of["teacher"]["groups"][0]["shares"] == [0.5, 0.5]
    assert run_of["teacher"]["agreement"] == pytest.approx(agreement.mean())


def test_a_plain_function_is_a_kind_and_a_reduction(own_modules):
    made = kind.find("my_teachers.smoothed")
    assert made.description == "the teacher my_teachers.smoothed" and not made.needs_runs
    found = reduction.find("my_reductions.target")
    assert found.reference is scores.mean_probs
    assert found.target.__name__ == "target"


def test_settings_may_not_take_the_name_of_another_key(monkeypatch):
    """`decay` is a key of every teacher: a kind with another default would never see its own."""
    from kd.config.defaults import TEACHER

    made = kind.Kind("mine.make", lambda context, decay=0.5: None)
    monkeypatch.setattr(kind, "find", lambda name: made)
    with pytest.raises(InputError, match="has the name of another key"):
        kind.complete(dict(TEACHER, name="mine.make"), TEACHER)


def test_no_public_name_is_that_of_a_file():
    """Importing the file would put the module in the place of the function."""
    assert not {*kd.teachers._FILES} & {*kd.teachers._FILES.values()}
