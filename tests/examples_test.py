"""The examples run as they stand."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(name: str, *arguments: str) -> str:
    """What an example prints, run as a user would, on one device."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "JAX_"))}
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    process = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
def test_an_own_loop_distils_an_ensemble():
    text = run("own_loop.py")
    assert text.count("teacher") == 3
    assert float(re.search(r"student: +([\d.]+) %", text)[1]) > 90


@pytest.mark.slow
def test_a_new_loss_brings_the_student_closer():
    labels, both = map(float, re.findall(r"([\d.]+) %", run("new_loss.py")))
    assert both > labels + 5


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("gcc") and importlib.util.find_spec("bakenn")),
    reason="needs kd[mcu] and a C compiler",
)
def test_an_ensemble_becomes_c(tmp_path):
    text = run("ensemble_to_c.py", str(tmp_path))
    assert "distilled student" in text and "c_lsb" in text
    assert (tmp_path / "c" / "kd_model.c").exists() and (tmp_path / "c" / "kernels").is_dir()


def test_every_example_is_tested():
    tested = set(re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text()))
    assert tested == {path.name for path in (ROOT / "examples").glob("*.py")}
