"""Configs of chains of teachers: who learns from whom, and the tables of such runs."""

import numpy as np
import pytest

from kd import build
from kd import config as configs
from kd.config.teachers import groups_of
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.tables import experiment, plan, results


def taught_by(reference):
    """The configs of the teachers, and how they are reduced."""
    section = configs.load(reference).teacher
    return [group.config for group in groups_of(section)], section.reduce


def test_each_network_of_a_chain_learns_from_the_one_before_it():
    path = lambda names, length: f"configs/takd.py:path={names},seeds=1,seed=100{length}"
    assert taught_by("configs/takd.py:path=16-8-4-2")[0] == [path("16-8-4", 3)]
    assert taught_by(path("16-8-4", 3))[0] == [path("16-8", 2)]
    assert taught_by(path("16-8", 2))[0] == [path("16", 1)]
    assert taught_by(path("16", 1))[0] == []
    widths = configs.load("configs/takd.py:path=16-8-4-2").student.widths
    assert tuple(widths) == (2, 4, 8)
    with pytest.raises(InputError, match="numbers of channels"):
        configs.load("configs/takd.py:path=resnet8")


def test_in_a_dense_chain_all_networks_before_the_last_teach_it():
    """Reduced by `each`; an assistant with one teacher is the run of the plain chain."""
    found, reduce = taught_by("configs/takd.py:path=16-8-4-2,dense")
    own = "seeds=1,seed=100"
    assert found == [
        f"configs/takd.py:path=16,{own}1",
        f"configs/takd.py:path=16-8,{own}2",
        f"configs/takd.py:path=16-8-4,dense=True,{own}3",
    ]
    assert reduce == "each"
    assert len(taught_by(found[2])[0]) == 2 and len(taught_by(found[1])[0]) == 1
    assert taught_by("configs/takd.py:path=16-8-4-2,dense,reduce=random")[1] == "random"


def test_each_generation_learns_from_the_one_before_it():
    second = configs.load("configs/born_again.py:generation=2")
    assert second.teacher.config == "configs/born_again.py"
    assert second.teacher.members == "paired" and second.seed == 2000
    assert set(second.objective) == {"ce", "kd"}
    alone = configs.load("configs/born_again.py:generation=1,labels=0")
    assert set(alone.objective) == {"kd"}
    together = configs.load("configs/born_again.py:generation=3,ensemble").teacher
    assert [group.members for group in groups_of(together)] == ["0", "0", "0"]
    with pytest.raises(InputError, match="with ensemble 2"):
        configs.load("configs/born_again.py:ensemble")


@pytest.mark.slow
def test_a_table_accepts_the_stored_configs_of_its_chains_and_cohorts(tmp_path):
    """Stored configs spell out every default of their groups."""
    for name in ("takd", "born_again", "dml"):
        asked = experiment.load(f"experiments/{name}.py")
        for run in plan.make(asked, tmp_path).values():
            run.workdir.path.mkdir(parents=True, exist_ok=True)
            run.workdir.write("config.json", build.spell_out(run.config).to_dict())
        assert plan.make(asked, tmp_path)


def test_a_table_shows_the_accuracy_of_the_teachers(tmp_path):
    """Those of two runs by their shares, of students that followed themselves each one's; classes
    0, 0, 1 by hand.
    """
    label = np.array([0, 0, 1])
    sure, unsure = np.array([[3.0, 0.0]] * 3), np.array([[0.0, 1.0]] * 3)
    for name, logits in (("a", [unsure, sure]), ("b", [unsure])):
        (tmp_path / name).mkdir()
        stored = {"logits": np.stack(logits), "label": label}
        Workdir(tmp_path / name).write("predictions.npz", stored)
    there = Workdir(tmp_path / "b")
    groups = [
        {"run": str(tmp_path / "a"), "members": [1], "shares": [0.5]},
        {"run": str(tmp_path / "b"), "members": [0], "shares": [0.5]},
    ]
    taught = {"teacher": {"groups": groups}, "final": {}}
    there.write("result.json", taught)
    config = configs.ConfigDict({"teacher": {"members": "all"}})
    run = plan.Run("b.py", config, there, (), "")
    cell = experiment.load("experiments/born_again.py").cells()[-2]
    assert cell.metric == "teacher_accuracy"
    found = results.of_run(run)
    assert found is not None and found.values(cell) == [pytest.approx(200 / 3)]
    means = {"logits": unsure[None], "label": label, "teacher_logits": np.stack([sure, unsure])}
    there.write("predictions.npz", means)
    assert found.values(cell) == pytest.approx([200 / 3, 100 / 3])


@pytest.mark.parametrize("name", ["takd", "born_again", "dml"])
@pytest.mark.slow
def test_the_tables_are_complete_and_take_an_hour_at_most(name, tmp_path):
    """Every run's config can be read, in miniature and as the paper had it, too. Numbers from
    memory are marked unsure.
    """
    ours = experiment.load(f"experiments/{name}.py")
    runs = {run.reference: run for run in plan.make(ours, tmp_path).values()}
    budgets = [max(c.budget for c in run.cells) for run in runs.values() if run.cells]
    assert 30 <= sum(budgets) <= 45
    small = plan.make(experiment.load(f"experiments/{name}.py:smoke"), tmp_path)
    assert all(run.config.data.name == "digits" for run in small.values())
    published = experiment.load(f"experiments/{name}.py:cifar")
    on = {run.config.data.name for run in plan.make(published, tmp_path).values()}
    assert on <= {"cifar10", "cifar100"}
    assert all(c.paper is None or c.paper.unsure for c in published.cells())
