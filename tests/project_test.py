"""`kd init`: a project that runs at once, written completely or not at all."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kd import config
from kd.cli.main import main
from kd.errors import RunError
from kd.files import project
from kd.tables import experiment

ROOT = Path(__file__).parents[1]
FILES = {
    ".gitignore",
    "README.md",
    "config.py",
    "test_drone.py",
    "drone/__init__.py",
    "drone/data.py",
    "drone/losses.py",
    "drone/networks.py",
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(directory: str) -> set[str]:
    return {str(p.relative_to(directory)) for p in Path(directory).rglob("*") if p.is_file()}


@pytest.mark.parametrize("directory", ["drone", "a/b/drone", "empty/drone", "./drone/"])
def test_the_files_have_the_name_of_the_project(directory, capsys):
    Path("empty/drone").mkdir(parents=True)
    assert main(["init", directory]) == 0
    assert written(directory) == FILES
    texts = [Path(directory, file).read_text() for file in FILES]
    assert not any(project.NAME in text for text in texts)
    assert all(len(line) <= 100 for text in texts for line in text.splitlines())
    printed = capsys.readouterr().out
    assert f"  cd {directory}\n  kd run --config config.py" in printed


def test_the_working_directory_can_be_the_project(monkeypatch):
    Path("drone").mkdir()
    monkeypatch.chdir("drone")
    assert main(["init", "."]) == 0 and written(".") == FILES


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-drone", "Such as my_drone."),
        ("9lives", "letters, digits and underscores"),
        ("class", "letters, digits and underscores"),
        ("dröne", "letters, digits and underscores"),
        ("a b", "Such as a_b."),
        ("json", "already the name of a module"),
        ("jax", "already the name of a module"),
        ("kd", "already the name of a module"),
        ("configs", "already the name of a module"),
        ("full", "exists and is not empty"),
        ("file", "exists and is no directory"),
        ("dangling", "exists and is no directory"),
        ("", "exists and is not empty"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(name, words, capsys):
    Path("full").mkdir()
    Path("full/thesis.tex").touch()
    Path("file").touch()
    Path("dangling").symlink_to("nowhere")
    before = sorted(Path().rglob("*"))
    if not name:  # the working directory, whose name is a good one
        Path("full/inner").mkdir()
        os.chdir("full")
        before = sorted(Path().rglob("*"))
    assert main(["init", name or "."]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("target", ["drone", "new/drone", "empty"])
@pytest.mark.parametrize("call", ["write_text", "rename", "mkdir"])
def test_nothing_is_left_where_the_disk_refuses(number, target, call, monkeypatch, capsys):
    Path("empty").mkdir()
    calls, real = [], getattr(Path, call)

    def refuse(path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 2 or (call == "rename" and target != "empty"):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, call, refuse)
        assert main(["init", target]) == 1
    message = capsys.readouterr().err
    assert os.strerror(number) in message and message.count("\n") == 1
    assert [str(path) for path in Path().rglob("*")] == ["empty"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_refused():
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match="Permission denied"):
        project.write("locked/drone")


TABLE = """
def get_experiment(arg=None):
    rows = {role: dict(args=dict(role=role)) for role in ("labels", "student")}
    columns = {f"{width} units": dict(args=dict(width=width)) for width in (4, 8)}
    table = dict(title="Accuracy", rows=rows, columns=columns)
    return dict(title="Widths", config="config.py", seeds=2, tables=[table])
"""


@pytest.fixture
def table(monkeypatch):
    """The working directory is a project with a table of its config; nothing of it stays known."""
    project.write("drone")
    monkeypatch.chdir("drone")
    Path("widths.py").write_text(TABLE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "drone"]:
        del sys.modules[name]


def test_a_table_passes_arguments_to_the_config(table):
    cells = experiment.load("widths.py").tables[0].cells
    for (row, column), cell in cells.items():
        c = config.load(cell.reference)
        assert (c.seeds, c.student.width) == (2, int(column.split()[0]))
        assert (c.teacher.config == "config.py:role=teacher") == (row == "student")
        labels = f"config.py:role=labels,width={c.student.width},seeds=2"
        assert c.compare.to_dict() == ({"student from labels": labels} if row == "student" else {})
    assert config.load("config.py:role=teacher").seeds == 5


@pytest.mark.parametrize("argument", ["teacher", "role=tutor", "width=wide", "depth=3", "seeds="])
def test_a_wrong_argument_of_the_config_is_refused(table, argument, capsys):
    assert main(["run", "--config", f"config.py:{argument}"]) == 2
    message = capsys.readouterr().err
    assert argument.rpartition("=")[2] in message and message.count("\n") == 1


@pytest.mark.slow
def test_a_table_of_the_config_trains_in_miniature(table):
    text = Path("config.py").read_text()
    Path("config.py").write_text(re.sub(r"(epochs|eval_every) = \d+", r"\1 = 3", text))
    done = subprocess.run(
        [sys.executable, "-m", "kd", "table", "widths.py", "--only", "student", "--seeds", "1"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"(?m)^\| student \| \d+\.\d\d.* \| \d+\.\d\d", done.stdout), done.stdout


@pytest.mark.slow
def test_the_project_runs_as_its_readme_says():
    """Each command of the README in turn, by the `kd` and `python` of this environment."""
    project.write("drone")
    commands = re.findall(r"(?m)^    (\S.*)$", Path("drone/README.md").read_text())
    assert "kd run --config config.py" in commands and "python -m pytest" in commands
    for command in commands:
        words = re.sub(r"^kd ", f"{sys.executable} -m kd ", command)
        words = re.sub(r"^python ", f"{sys.executable} ", words)
        done = subprocess.run(
            words,
            shell=True,
            cwd="drone",
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if command == "kd run --config config.py":
            assert "distilled student" in done.stdout and "Gain over" in done.stdout
    assert Path("drone/runs/config/report/report.html").is_file()
