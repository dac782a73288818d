"""The README's notebook example runs as it stands, and documents keep to 100 columns."""

import contextlib
import importlib
import re
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "tests/golden/*/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_the_notebook_example_takes_a_step():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = next(block for block in blocks if "make_step" in block)
    names = {
        "images": jax.random.normal(jax.random.key(0), (8, 8, 8, 1)),
        "labels": jnp.arange(8) % 10,
    }
    exec(example, names)
    assert jnp.isfinite(names["metrics"]["loss"])
    assert int(names["state"].step) == 1


UV = "python3 -m pip install --target .uv uv"
"""The one way to get uv that works with every `python3`, externally managed or not."""


def test_the_commands_that_ci_and_a_newcomer_run():
    assert f"    {UV} && .uv/bin/uv run pytest  " in README
    assert f"    {UV} && .uv/bin/uv run kd run --config configs/digits.py  " in README
    assert UV in (ROOT / "CONTRIBUTING.md").read_text()
    ci = (ROOT / ".ci" / "run").read_text()
    assert UV.replace(" --target", " --quiet --root-user-action=ignore --target") in ci


@pytest.mark.campaign
def test_uv_is_installed_by_every_python_of_the_machine(tmp_path):
    """Also by one that is externally managed, twice, and without an environment or `uv`."""
    if not (pythons := [*filter(has_pip, ("/usr/bin/python3", "python3", "python"))]):
        pytest.skip("no python3 with pip")
    for number, python in enumerate(pythons):
        home = tmp_path / str(number)
        home.mkdir()
        for command in (UV.replace("python3", python, 1), UV.replace("python3", python, 1)):
            done = subprocess.run(command, shell=True, cwd=home, capture_output=True, text=True)
            if "No matching distribution" in done.stderr or "connection" in done.stderr.lower():
                pytest.skip("no registry is reached")
            assert done.returncode == 0, done.stderr
        version = subprocess.run([home / ".uv/bin/uv", "--version"], capture_output=True, text=True)
        assert version.stdout.startswith("uv "), version.stderr


def has_pip(python: str) -> bool:
    """Whether this interpreter is there and has pip."""
    with contextlib.suppress(OSError):
        return subprocess.run([python, "-m", "pip", "-V"], capture_output=True).returncode == 0
    return False


@pytest.mark.parametrize("document", DOCUMENTS)
def test_prose_is_at_most_100_columns_wide(document):
    """Tables, code, images, and what `kd table` and the benchmarks write may be wider."""
    text = (ROOT / document).read_text()
    text = re.sub(r"(?s)<!-- table.*?<!-- /table -->", "", text)
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", text)
    prose = [line for line in text.splitlines() if not line.startswith(("|", "    ", "!["))]
    assert [line for line in prose if len(line) > 100] == []


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d != "CHANGELOG.md"])
def test_files_that_the_prose_names_exist(document):
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", (ROOT / document).read_text())
    named = re.findall(
        r"\b(?:kd|configs|experiments|benchmarks|tests|docs|examples)/[\w/]+\.(?:py|md|sh|json)",
        text,
    )
    missing = {path for path in named if not (ROOT / path).exists() and "mine" not in path}
    assert not missing


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d != "CHANGELOG.md"])
def test_modules_that_the_prose_names_exist(document):
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", (ROOT / document).read_text())
    text = re.sub(r"(?m)^\|.*", "", text)  # tables have names of objectives, such as kd.KD
    paths = re.findall(r"`(kd(?:\.\w+)+)(?:\(.*?\))?`", text)
    assert not [path for path in paths if not exists(path)]


def test_the_new_paths_of_what_moved_exist():
    text = (ROOT / "CHANGELOG.md").read_text().partition("## Unreleased")[2].partition("\n## ")[0]
    paths = re.findall(r"^\| `kd[\w.]+` \| `(kd[\w.]+)` \|$", text, re.MULTILINE)
    assert len(paths) > 200
    assert not [path for path in paths if not exists(path)]


def exists(path: str) -> bool:
    """Whether a module of this name, or a module with this attribute, is there."""
    names = path.split(".")
    for size in range(len(names), 0, -1):
        try:
            value = importlib.import_module(".".join(names[:size]))
        except ModuleNotFoundError:
            continue
        for name in names[size:]:
            fields = getattr(value, "__dataclass_fields__", {})
            if not hasattr(value, name) and name not in fields:
                return False
            value = getattr(value, name, None)
        return True
    return False
