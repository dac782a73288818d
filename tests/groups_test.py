"""Teachers of several runs: how a config names them, and a run that learns from networks of
different architectures.
"""

import numpy as np
import pytest

from kd import build
from kd.cli.main import main
from kd.config import ConfigDict, complete, teachers
from kd.errors import InputError
from kd.metrics import scores
from kd.runs.workdir import Workdir
from kd.tables import experiment, plan

RUN = dict(
    data=dict(name="digits"), student=dict(name="mlp.MLP"), objective=dict(ce=dict(name="ce.CE"))
)


def teacher(**section) -> ConfigDict:
    """The section `teacher` of a whole config."""
    return build.spell_out(complete(ConfigDict(dict(RUN, teacher=section)))).teacher


def test_members_of_several_runs_count_what_their_weights_say():
    """By hand: 2 x (1, 3) and 1 x 2 members make 2, 6, 1, 1 of 10."""
    section = teacher(
        groups=(dict(run="a", members=(0, 2), weight=2, weights=(1, 3)), dict(run="b"))
    )
    assert section.groups[1] == dict(teachers.GROUP, run="b")
    found = teachers.groups_of(section)
    assert found[0].indices(3, "a") == [0, 2] and found[1].indices(2, "b") == [0, 1]
    np.testing.assert_allclose(teachers.member_weights(found, [2, 2]), [0.2, 0.6, 0.1, 0.1])


def test_a_teacher_of_one_run_is_one_group():
    (alone,) = teachers.groups_of(teacher(run="a", members="(0, 2)", weights=(3, 1)))
    assert (alone.run, alone.members) == ("a", "0,2")
    np.testing.assert_allclose(teachers.member_weights([alone], [2]), [0.75, 0.25])
    assert teachers.groups_of(teacher()) == ()


def test_stored_files_keep_the_key_of_weights():
    """`shares` in result.json and report.json, whatever the code calls them."""
    (group,) = teachers.recorded({"run": "a", "members": [0, 2], "shares": [0.75, 0.25]})
    assert group.weights == [0.75, 0.25]
    assert group.to_json() == {"run": "a", "members": [0, 2], "shares": [0.75, 0.25]}
    (equal,) = teachers.recorded({"run": "a", "members": [0, 2]})
    assert equal.weights == [0.5, 0.5]


@pytest.mark.parametrize(
    "section, words",
    [
        (dict(run="a", groups=(dict(run="b"),)), "run = 'a' describes a teacher of one run"),
        (dict(groups=(dict(members=(0,)),)), r"groups\[0\]: give run"),
        (dict(groups=("runs/a",)), "expected a dict"),
        (dict(groups=(dict(run="a", wieght=2.0),)), "Did you mean 'weight'"),
        (dict(groups=(dict(run="a", members="paired"),)), "paired with the members of one"),
        (dict(groups=(dict(run="a", members=(1, 1)),)), "twice"),
        (dict(run="a", weights=(1, -1)), r"weights\[1\]: expected 0 or more, got -1"),
        (dict(run="a", weights=(float("nan"),)), r"weights\[0\]: expected 0 or more, got nan"),
        (dict(run="a", weights=("much",)), "0 or more, got 'much'"),
        (dict(run="a", weights=(1, 2), members="paired"), "weights have no meaning"),
        (dict(run="a", weights=(1, 2), reduce="confidence"), "computes the weights"),
    ],
)
def test_sections_that_cannot_be_say_why(section, words):
    with pytest.raises(InputError, match=words):
        teacher(**section)


CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="arrays", path="{data}")
    c.seeds, c.batch_size, c.epochs = 2, 32, 2
    widths = dict(narrow=(4,), wide=(8, 8)).get(arg, (8,))
    c.student = dict(name="mlp.MLP", widths=widths)
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.objective = dict(ce=dict(name="ce.CE"))
    if arg not in ("narrow", "wide"):
        even = arg == "confidence"  # which weighs the members itself
        groups = tuple(dict(g, weight=1.0) for g in GROUPS) if even else GROUPS
        c.teacher = dict(reduce=arg or "probs", groups=groups)
        c.objective.kd = dict(name="kd.KD", temperature=2.0)
    return c

GROUPS = (dict(config="mixed.py:narrow", weight=2.0), dict(config="mixed.py:wide", members=(1, 0)))
"""


@pytest.fixture
def mixed(tmp_path, small_data, monkeypatch):
    """The working directory with `mixed.py`: two narrow networks and two wide ones teach."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed.py").write_text(CONFIG.replace("{data}", str(small_data)))
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_networks_of_two_architectures_teach_together(mixed, capsys):
    assert main(["run", "--config", "mixed.py"]) == 0
    printed = capsys.readouterr().out
    assert "weighed 0.333 : 0.333 : 0.167 : 0.167" in printed
    assert "members 0, 1 of runs/mixed-narrow, and 1, 0 of runs/mixed-wide" in printed
    assert "ensemble of 4" in printed
    result = Workdir("runs/mixed").read("result.json")
    found = teachers.recorded(result["teacher"])
    assert [g.members for g in found] == [[0, 1], [1, 0]]
    narrow, wide = (Workdir(g.run).predictions()["logits"] for g in found)
    members = np.concatenate([narrow, wide[::-1]])
    target = scores.mean_probs(members, [1 / 3, 1 / 3, 1 / 6, 1 / 6])
    own = Workdir("runs/mixed").predictions()["logits"]
    np.testing.assert_allclose(result["final"]["kl"], scores.kl(own, target), atol=1e-5)
    costs = [Workdir(g.run).read("result.json")["parameters"] for g in found]
    assert f"{2 * sum(costs):,}" in printed
    assert main(["report", "runs/mixed"]) == 0


@pytest.mark.parametrize(
    "reduce",
    [
        pytest.param("each", marks=pytest.mark.slow),
        pytest.param("random", marks=pytest.mark.campaign),
        pytest.param("confidence", marks=pytest.mark.campaign),
    ],
)
@pytest.mark.usefixtures("unoptimized")
def test_devices_and_a_cache_change_nothing(mixed, reduce):
    """Members and batch on a mesh, the batch under pmap, and teachers that were asked once: the
    predictions of one device.
    """
    ways = {
        "mesh": ["--config.devices.teacher=2", "--config.devices.data=2"],
        "pmap": ["--config.devices.data=4", "--config.devices.transform=pmap"],
        "cache": ["--config.teacher.cache=true"],
        "map": ["--config.teacher.how=map", "--config.seeds_how=unroll"],
    }
    command = ["run", "--config", f"mixed.py:{reduce}"]
    assert main(command) == 0
    one = Workdir(f"runs/mixed-{reduce}").predictions()["logits"]
    for way, arguments in ways.items():
        assert main([*command, *arguments, "--workdir", way]) == 0
        found = Workdir(way).predictions()["logits"]
        np.testing.assert_allclose(found, one, atol=2e-5, err_msg=way)


@pytest.mark.parametrize(
    "section, words",
    [
        ("dict(config='mixed.py:narrow', weights=(1, 2, 3))", "3 weights for 2 members"),
        ("dict(config='mixed.py:narrow', weight=0)", "At least one must be positive"),
        ("dict(config='mixed.py:narrow', members=(0, 2))", "members 0 to 1"),
        (
            "dict(config='mixed.py:narrow'), dict(config='mixed.py:wide', members=1)",
            "the 1 members of config.teacher.groups[1] cannot",
        ),
        ("dict(config='mixed.py:narrow'), dict(run='nowhere')", "nowhere is no finished run"),
    ],
)
def test_what_cannot_be_is_told_before_a_teacher_is_trained(mixed, capsys, section, words):
    text = (mixed / "mixed.py").read_text()
    text = text.partition("GROUPS = (dict")[0] + f"GROUPS = ({section},)\n"
    (mixed / "mixed.py").write_text(text)
    assert main(["run", "--config", "mixed.py", "--config.devices.teacher=2"]) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1
    assert not (mixed / "runs").exists()


def test_groups_that_do_not_fit_are_refused(finished, small_config, capsys, tmp_path):
    """Members that do not divide among the devices, and a network with other classes; finished runs
    are left as they are.
    """
    from shutil import copytree

    copytree("runs/small-teacher", "other")
    other = Workdir("other")
    other.write("result.json", other.read("result.json") | {"num_classes": 7})
    text = small_config.read_text()
    teachers = "(dict(config='small.py:teacher'), dict(run='{run}', members=(1,)))"
    missing = "dict(config='small.py:teacher', members=(0,)), dict(run='other')"
    small_config.write_text(
        text.replace('dict(config="small.py:teacher")', f"dict(groups=({missing}))")
    )
    assert main(["run", "--config", "small.py", "--runs", "fresh"]) == 2
    assert "num_classes 7" in capsys.readouterr().err
    assert not (tmp_path / "fresh").exists()
    for run, arguments, words in (
        (
            "runs/small-teacher",
            ["--config.devices.teacher=2"],
            "the 1 members of config.teacher.groups[1] cannot be split evenly",
        ),
        ("other", [], "other was trained with num_classes 7"),
    ):
        small_config.write_text(
            text.replace(
                'dict(config="small.py:teacher")', f"dict(groups={teachers.format(run=run)})"
            )
        )
        assert main(["run", "--config", "small.py", "--workdir", "new", *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error and len(error.splitlines()) == 1
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["", ":smoke", ":cifar100"])
@pytest.mark.slow
def test_the_tables_of_ensembles_are_whole(kind, tmp_path):
    """Every config loads, and on two cores the whole takes at most an hour and a half."""
    runs = plan.make(experiment.load(f"experiments/ensembles.py{kind}"), tmp_path)
    runs = {run.identity: run for run in runs.values()}
    for run in runs.values():
        build.spell_out(run.config)
    budgets = [max(c.budget or 0 for c in run.cells) for run in runs.values() if run.cells]
    assert len(budgets) > 10 and sum(budgets) <= 90
