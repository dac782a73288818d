"""The README is short and its numbers are published ones; documents keep to 100 columns."""

import contextlib
import importlib
import re
import subprocess
from pathlib import Path

import kills_test
import numpy as np
import pictures
import pytest
from PIL import Image

from kd import objectives
from kd.metrics.intervals import Interval
from kd.runs.conclusion import Compared, Taught, sentence

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "tests/golden/*/*.md")
    for path in ROOT.glob(pattern)
)


CLAIMS = {
    "95.22 % instead of 92.33 %": ("labels", "95.22 ± 0.30"),
    "95.22 % instead of 92.33": ("labels", "92.33 ± 1.09"),
    "83.18 % instead of 81.22 %": ("fashion_mnist_labels", "83.18 ± 0.11"),
    "83.18 % instead of 81.22": ("fashion_mnist_labels", "81.22 ± 0.14"),
    "98.6 errors in 10,000": ("hinton2015_mnist", "| 98.6 ± "),
    "from labels 137.8": ("hinton2015_mnist", "| 137.8 ± "),
    "labels and teacher 83 % is closed": ("hinton2015_mnist", "closed | 0.83 "),
    "closes 91 %": ("hinton2015_mnist", "| 0.91 | −0.08 |"),
    "at most 0.1 points": ("quantization", "| distilled, int8 after training | 87.07 ± "),
    "10,272 bytes": ("quantization", "| int8 after training | 10272 "),
}
"""What the README says, and where a published table says so."""


def test_it_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("claim", CLAIMS)
def test_its_numbers_are_published(claim):
    table, line = CLAIMS[claim]
    assert claim in " ".join(README.split())
    tables = (ROOT / "docs/tables.md").read_text()
    assert line in tables.partition(f"<!-- table: {table} -->")[2].partition("<!-- /table -->")[0]


def test_its_numbers_of_methods_and_kills():
    assert f"**{len(objectives.classes())} objectives**" in README
    assert f"at {len(kills_test.cases())} moments" in README


def test_its_picture_is_of_the_published_results(monkeypatch):
    monkeypatch.chdir(ROOT)
    shown = {panel.experiment: pictures.numbers(panel) for panel in pictures.PANELS}
    assert pictures.stored() == shown, "draw it anew: python tests/pictures.py"
    assert f"]({pictures.PATH.relative_to(ROOT)})" in README


@pytest.mark.slow
def test_its_picture_is_what_is_drawn_from_its_numbers(tmp_path, monkeypatch):
    """But for the rendering of letters, which differs between versions of Matplotlib."""
    monkeypatch.chdir(ROOT)
    pictures.draw(tmp_path / "again.png")
    again, stored = (
        np.asarray(Image.open(path).convert("L"), np.float32)
        for path in (tmp_path / "again.png", pictures.PATH)
    )
    assert again.shape == stored.shape
    assert np.mean(np.abs(again - stored)) < 1


def test_its_sentence_is_what_the_closing_table_says_of_these_numbers():
    """So that the table is printed anew where the words of the command change."""
    numbers = r"([-+][\d.]+) points, 95 % interval \[([-+][\d.]+), ([-+][\d.]+)\]"
    loss, gain = (
        Interval(*(float(number) / 100 for number in found))
        for found in re.findall(numbers, README)[:2]
    )
    costs = {
        row: {"bytes": int(size.replace(",", "")), "macs": int(macs.replace(",", ""))}
        for row, size, macs in re.findall(
            r"(?m)^    (\w[\w, ]+?)  +\d\d\.\d\d[ ±.\d]* +[\d,]+ +([\d,]+) +([\d,]+) ", README
        )
    }
    student, labels = costs["distilled student"], costs["student from labels"]
    compared = Compared("student from labels", gain, [labels], seeds=5)
    taught = Taught(loss, [costs["teacher, mean of 5"]] * 5, paired=False)
    assert sentence([student], 5, [compared], taught) in " ".join(README.split())


def test_its_table_is_that_of_getting_started():
    block = lambda text: re.search(r"(?ms)^    360 test images.*?^    Acceptance.*?$", text)
    shown = block(README)
    assert shown and shown[0] in (ROOT / "docs/start.md").read_text()


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
