"""Configs and experiments that ship with kd: `kd:NAME` is `configs/NAME.py`, in every directory."""

import subprocess
import sys
from pathlib import Path

import pytest

from kd import config as configs
from kd.cli.main import main
from kd.config import shipped
from kd.config.identity import config_hash
from kd.errors import InputError
from kd.files.parsers import parse_json
from kd.tables import experiment, plan, published

ROOT = Path(__file__).parents[1]
CONFIGS, EXPERIMENTS = shipped.names("config"), shipped.names("experiment")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory outside of the clone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hash_of(reference: str) -> str:
    return config_hash(configs.load(reference).to_dict())


def test_all_files_that_define_a_config_or_an_experiment_ship():
    assert {"digits", "takd", "imagenet"} <= set(CONFIGS) and "arguments" not in CONFIGS
    assert {"labels", "takd"} <= set(EXPERIMENTS)


def test_each_working_directory_has_its_own_modules(tmp_path, monkeypatch):
    """A notebook that goes to another directory, and back, reads that one's helpers."""
    text = """
from ml_collections import ConfigDict
from configs.arguments import VALUE
from of_this_project import get_config_of

def get_config(arg=None):
    return get_config_of(ConfigDict(dict(seed=VALUE)))
"""
    for value in (1, 2):
        folder = tmp_path / f"project{value}"
        (folder / "configs").mkdir(parents=True)
        (folder / "configs/arguments.py").write_text(f"VALUE = {value}")
        (folder / "configs/mine.py").write_text(text)
        Path(folder / "of_this_project.py").write_text("def get_config_of(c):\n    return c\n")
    for value in (1, 2, 1):
        monkeypatch.chdir(tmp_path / f"project{value}")
        assert configs.load("configs/mine.py").seed == value
    monkeypatch.chdir(ROOT)
    assert configs.load("configs/digits.py").student.name


@pytest.mark.parametrize(
    "arguments", ["digits", "digits:role=labels,labelled=all", "takd:path=16-8-4-2,dense"]
)
def test_both_spellings_are_one_run(arguments, elsewhere, monkeypatch):
    path = "configs/" + arguments.replace(":", ".py:", 1)
    path += "" if ":" in arguments else ".py"
    away = hash_of(f"kd:{arguments}")
    monkeypatch.chdir(ROOT)
    assert hash_of(f"kd:{arguments}") == hash_of(path) == away
    assert configs.default_workdir(f"kd:{arguments}") == configs.default_workdir(path)


def test_what_a_shipped_config_refers_to_ships_too(elsewhere):
    """Whatever the working directory has under the same names."""
    Path("configs").mkdir()
    for name in ("digits", "arguments"):
        Path(f"configs/{name}.py").write_text("raise ValueError('of the user')")
    loaded = configs.load("kd:digits")
    assert loaded.teacher.config == "kd:digits:role=teacher"
    assert list(loaded.compare.values()) == ["kd:digits:role=labels"]
    groups = configs.load("kd:takd:path=16-8-4-2,dense").teacher.groups
    assert [group["config"].partition(":path=")[0] for group in groups] == ["kd:takd"] * 3
    with pytest.raises(InputError, match="of the user"):
        configs.load("configs/digits.py")


def test_a_path_of_the_clone_works_where_there_is_none(elsewhere):
    """In a config of one's own, too, which may import what the shipped ones do."""
    assert configs.load("configs/digits.py").teacher.config == "kd:digits:role=teacher"
    source = (ROOT / "configs" / "digits.py").read_text()
    Path("mine.py").write_text(source)
    loaded = configs.load("mine.py")
    assert loaded.teacher.config == "configs/digits.py:role=teacher"
    assert configs.load(loaded.teacher.config).student.widths == (256, 256)
    assert config_hash(loaded.to_dict()) == hash_of("kd:digits")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("kd:digit", "Did you mean 'digits'"),
        ("kd:arguments", "unknown config that ships with kd"),
        ("kd:../pyproject", "unknown config that ships with kd"),
        ("kd:", "Known: born_again"),
        ("kd:digits:labeled=3", "Did you mean 'labelled'"),
        ("digits", "Did you mean 'kd:digits'"),
        ("configs/digit.py", "Did you mean 'kd:digits'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(reference, words, elsewhere):
    with pytest.raises(InputError, match=r"^[^\n]*$") as refused:
        configs.load(reference)
    assert words in str(refused.value)


def test_the_published_table_is_found_everywhere(elsewhere):
    found = experiment.load("kd:labels")
    content = published.read(found.published)
    runs = plan.make(found, "runs")
    known = {r for r, run in runs.items() if published.find(content, run, found.published)}
    assert {r for r in runs if "role=strong" not in r} <= known
    assert {reference.partition(":role")[0] for reference in runs} == {"kd:digits"}


def test_published_results_of_kd_are_not_written_by_its_users(elsewhere, capsys):
    assert main(["table", "kd:labels", "--publish"]) == 2
    assert "is part of kd" in capsys.readouterr().err


def test_the_lists_name_each_file_and_import_no_jax(elsewhere):
    code = (
        "import sys\n"
        "from kd.cli.main import main\n"
        "for words in (['configs'], ['experiments'], ['configs', 'digits']):\n"
        "    assert main(words) == 0\n"
        "assert not {'jax', 'numpy'} & sys.modules.keys()\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    for number, name in enumerate((*CONFIGS, *EXPERIMENTS)):
        reference, _, sentence = lines[number].partition(" ")
        assert reference == f"kd:{name}" and sentence.strip()[-1] in ".!?"
    assert "    kd run --config kd:digits" in lines
    assert ["labelled", "'128'"] in [line.split()[:2] for line in lines]


def test_a_stored_config_may_name_what_ships_and_no_file(elsewhere):
    from kd.names import trust

    with trust.stored("runs/theirs"):
        assert configs.load("kd:digits")
        with pytest.raises(InputError, match="would be executed"):
            configs.load("configs/digits.py")


def test_the_path_is_that_of_the_file(capsys):
    assert main(["configs", "digits", "--path"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_text().startswith('"""Handwritten digits')


@pytest.mark.slow
def test_a_missing_teacher_is_trained_from_a_name(elsewhere):
    command = ["run", "--config", "kd:digits", "--config.epochs=1", "--config.seeds=1"]
    assert main([*command, "--config.schedule.warmup=0"]) == 0
    (student,) = (path for path in Path("runs").iterdir() if "role" not in path.name)
    stored = parse_json((student / "config.json").read_bytes())
    assert stored["teacher"]["config"] == "kd:digits:role=teacher"
    assert Path("runs/digits-role=teacher/result.json").exists()
