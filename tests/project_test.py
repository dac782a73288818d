"""`kd init`: a project that runs at once, written completely or not at all."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kd.cli.main import main
from kd.errors import RunError
from kd.files import project

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
