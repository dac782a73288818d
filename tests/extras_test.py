"""Extras: the command that installs one works however kd was installed, and documents name it."""

import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kd import extras

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEXTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "docs/**/*.ipynb", "examples/*", "kd/**/*.py")
    for path in ROOT.glob(pattern)
    if path.is_file() and path.name != "extras.py"
]
HERE = shlex.quote(sys.executable)


class Distribution:
    """The metadata of an installed kd."""

    def __init__(self, origin):
        self._origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return self._origin and json.dumps(self._origin)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes kd look as if it were installed from `origin`, in an environment in `tmp_path`."""
    (tmp_path / "kd-0.1.0-py3-none-any.whl").touch()
    monkeypatch.setattr(extras, "ROOT", tmp_path / ".venv" / "site-packages")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    requires = ["jax>=0.11", "gcsfs<2027,>=2025.9 ; extra == 'gcs'", "x; extra == 'mcu'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requires)

    def install(origin, pip=True):
        monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution(origin))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if pip else None)
        return extras.command("gcs")

    return install


def test_a_wheel_a_repository_an_index_or_neither(installed, tmp_path):
    wheel = f"file://{tmp_path}/kd-0.1.0-py3-none-any.whl"
    assert installed({"url": wheel}) == f"{HERE} -m pip install 'kd[gcs] @ {wheel}'"
    assert installed({"url": wheel}, pip=False) == (
        f"uv pip install --python {HERE} 'kd[gcs] @ {wheel}'"
    )
    vcs = {"url": "https://example.org/kd", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    assert installed(vcs).endswith("'kd[gcs] @ git+https://example.org/kd@abc'")
    assert installed(None).endswith("install 'kd[gcs]'")  # PEP 610: it came from an index
    gone = {"url": wheel.replace("0.1.0", "0.0.9")}
    assert installed(gone) == f"{HERE} -m pip install 'gcsfs<2027,>=2025.9'"
    (tmp_path / "uv.lock").touch()
    assert installed({"url": wheel}) == f"uv add 'kd[gcs] @ {wheel}'"


def test_a_clone(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "kd"\n')
    assert extras.command("mcu").endswith(f" -e '{tmp_path}[mcu]'")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert extras.command("mcu") == f"uv sync --extra mcu --inexact --project {tmp_path}"
    monkeypatch.chdir(tmp_path)
    assert extras.command("mcu") == "uv sync --extra mcu --inexact"


def test_the_extras_are_those_of_the_package():
    assert extras.EXTRAS.keys() == PROJECT["optional-dependencies"].keys()


def test_no_text_installs_kd_from_an_index_or_an_extra_that_is_not():
    for path in TEXTS:
        text = path.read_text().replace("\n", " ")
        names = re.findall(r"pip install (?:-\S+ )*['\"]?kd(?:\[\w+\])?(?! @|[\w\-\[])", text)
        assert not names, f"{path}: kd is on no index: kd.extras.command says what works"
        for extra in re.findall(r"--extra[ =](\w+)", text):
            assert extra in PROJECT["optional-dependencies"], f"{path}: {extra}"


@pytest.mark.slow
def test_a_missing_extra_is_named_and_no_traceback_is_shown():
    """In a process in which no package of an extra can be imported."""
    code = (
        "import sys\n"
        "from kd import extras\n"
        "from kd.cli.main import main\n"
        "for name in ('flatbuffers', *sum(extras.EXTRAS.values(), ())):\n"
        "    sys.modules[name] = None\n"
        "for words in ('export x --format c', 'export x --format c --kernels none',\n"
        "              'export x --format litert', 'export x --format litert --int8',\n"
        "              'select x'):\n"
        "    assert main(words.split()) == 2, words\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Install the extra") == done.stderr.count("\n") == 5
