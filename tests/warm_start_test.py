"""Warm starts (`config.init`): which variables are copied, which run is trained first, errors."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from configs.common import FIRST as FIRST_OF
from kd.cli import main
from kd.runs.checkpoint import load_some, stored
from kd.runs.networks import load_networks
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir

FIRST = Workdir("runs/small-teacher")
SECOND = Workdir("runs/small-labels")
STILL = "--config.optimizer.learning_rate=0.0"


def kd(*arguments):
    return main.main(["run", *map(str, arguments)])


@pytest.fixture
def labels(finished, small_config: Path) -> str:
    """A config of a run from labels that starts from the finished teacher."""
    text = small_config.read_text()
    text = text.replace('arg != "teacher"', 'arg not in ("teacher", "labels")')
    start = '    if arg == "labels":\n        c.init = dict(config="small.py:teacher")\n'
    small_config.write_text(text.replace("    return c", f"{start}    return c"))
    return f"{small_config}:labels"


@pytest.mark.slow
def test_at_learning_rate_zero_a_run_ends_as_its_initial_run(labels, capsys):
    assert kd("--config", labels, STILL) == 0
    first, second = FIRST.predictions()["logits"], SECOND.predictions()["logits"]
    np.testing.assert_array_equal(first, second)
    origin = SECOND.read("result.json")["init"]
    assert origin["run"] == "runs/small-teacher"
    assert SECOND.read("origin.json")["init"] == origin["weights"]
    told = capsys.readouterr().out
    assert "every student started from what runs/small-teacher had learnt" in told
    assert told.rstrip().endswith("runs/small-teacher")


@pytest.mark.slow
def test_only_variables_that_match_take_are_copied(labels):
    """With the head alone the logits differ, and the head is that of the initial run."""
    take = "--config.init.take=^student/head/"
    assert kd("--config", labels, STILL, take) == 0
    first, second = (load_networks(run).variables["params"] for run in (FIRST, SECOND))
    np.testing.assert_array_equal(first["head"]["kernel"], second["head"]["kernel"])
    assert np.any(first["layer1"]["kernel"] != second["layer1"]["kernel"])


@pytest.mark.slow
def test_an_initial_run_of_one_seed_starts_all_seeds(labels):
    alone = ["--config", "small.py:teacher", "--config.seeds=1", "--workdir", "one"]
    assert kd(*alone) == 0
    arguments = ["--config.init.config=", "--config.init.run=one", "--config.seeds=3"]
    assert kd("--config", labels, STILL, *arguments) == 0
    first = Workdir("one").predictions()["logits"]
    second = SECOND.predictions()["logits"]
    for i in range(3):  # a program of three seeds rounds differently than one of one seed
        np.testing.assert_allclose(first[0], second[i], atol=1e-5)


FT = [
    "objective.ce.name=ft.FT",
    "teacher.name=frozen",
    "teacher.config=small.py:teacher",
    "teacher.members=0",
]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["init.config=", "init.run=runs/none"], "runs/none is no finished run"),
        (["student.widths=(9,)"], "student/head/kernel is [9, 10] here and [8, 10]"),
        (["student.widths=(8,8)"], "student/layer2/bias is [8] here and absent there"),
        (["seeds=3"], "has 2 networks and config.seeds is 3"),
        (["init.take=student/haed"], "no variables in common"),
        (["init.take=("], "no regular expression"),
        (["init.config=", "init.take=head"], "no run to take it from"),
        (["init.config=small.py:labels"], "start from itself"),
        (FT, "objective.ce starts from"),
        (["init.config=", "objective.ce.name=ft.FT"], "second of two runs"),
        (["holdout=0.2"], "config.init: the run in runs/small-teacher was evaluated"),
    ],
)
def test_an_initial_run_that_does_not_fit_is_refused(labels, capsys, arguments, words):
    options = [f"--config.{a}" for a in arguments]
    assert kd("--config", labels, *options) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
    assert not SECOND.path.exists()


def test_another_network_is_refused_before_the_initial_run_is_trained(labels, capsys):
    shutil.rmtree("runs")
    assert kd("--config", labels, "--config.student.widths=(9,)") == 2
    assert "is [9, 10] here" in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.slow
def test_resuming_with_a_changed_initial_run_is_refused(labels, capsys):
    assert kd("--config", labels) == 0
    (SECOND.path / "result.json").unlink()
    origin = SECOND.read("origin.json")
    SECOND.write("origin.json", origin | {"init": "0" * 16})
    assert kd("--config", labels) == 2
    assert "the init changed since the run began" in capsys.readouterr().err


CONFIG = '''
from ml_collections import ConfigDict

from configs.common import FIRST, first_run, method, taken_over

def get_config(arg):
    """A method of two runs on networks of the same widths; both learn from `teacher`."""
    c = ConfigDict()
    c.data = dict(name="arrays", path="{data}")
    c.seeds = 2
    c.batch_size = 20
    c.epochs = 8
    c.optimizer = dict(name="sgd", learning_rate=0.05, weight_decay=0.1)
    c.student = dict(name="cnn.CNN", widths=(4, 4))
    c.objective = dict(ce=dict(name="ce.CE"))
    if arg == "teacher":
        c.seeds = 1
        return c
    c.objective = method(arg, "", "")
    if arg == "fitnet_second":
        c.objective.kd.weight.over = 8.0  # in place of 240
    if "fsp" in c.objective:
        c.objective.fsp.features = ("stage1", "stage2")
    if arg in FIRST.values():
        first_run(c, arg)
    if arg in FIRST:
        take = taken_over(arg, ("head",))
        c.init = dict(config=f"two.py:{FIRST[arg]}", take=take)
    c.teacher = dict(config="two.py:teacher")
    return c
'''


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
@pytest.mark.parametrize("name", FIRST_OF)
def test_methods_of_two_runs_end_to_end(name, tmp_path, small_data, monkeypatch):
    """One command trains the teacher, the first run and the second, which starts from the first."""
    monkeypatch.chdir(tmp_path)
    Path("two.py").write_text(CONFIG.replace("{data}", str(small_data)))
    still = [STILL, "--workdir", "still"]
    assert kd("--config", f"two.py:{name}", *still) == 0
    first, second = Workdir(f"runs/two-{FIRST_OF[name]}"), Workdir("still")
    assert first.read("result.json")["epochs"] == 1
    ours, theirs = (load_networks(run).variables["params"] for run in (second, first))
    same = {
        k: np.array_equal(ours[k]["kernel"], theirs[k]["kernel"])
        for k in ours
        if "kernel" in ours[k]
    }
    body = {"fsp": True, "ab": True, "ft": False, "fitnet_second": True}[name]
    assert {v for k, v in same.items() if k != "head"} == {body}
    assert same["head"] == (name == "fitnet_second")
    if name == "ft":
        taken, left = (stored_objective(run) for run in (second, first))
        for path, value in taken["frozen"]["terms_ft"]["encoder"].items():
            kept = left["frozen"]["terms_ft"]["encoder"][path]["kernel"]
            np.testing.assert_array_equal(value["kernel"], kept)
    assert kd("--config", f"two.py:{name}") == 0
    losses = [r["loss"] for r in read_rows(Workdir(f"runs/two-{name}")) if r["kind"] == "train"]
    assert np.mean(losses[-1]) < np.mean(losses[0])


def stored_objective(run: Workdir):
    """All variables of a run's objective."""
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        {"objective": stored(run.checkpoints)["objective"]},
    )
    return load_some(run.checkpoints, like)["objective"]
