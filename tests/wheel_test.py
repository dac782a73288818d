"""The wheel in an environment of its own, in another directory: what works there as in a clone.

Dependencies are those of this environment, kd itself is only what the wheel holds.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def kd(tmp_path_factory):
    """Runs the installed command in an empty directory; `kd.directory` is the place."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        pytest.skip("no uv to build the wheel with")
    home = tmp_path_factory.mktemp("wheel")
    build = [uv, "build", "--quiet", "--wheel", "--out-dir", str(home), str(ROOT)]
    built = subprocess.run(build, capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"hatchling is not to be had: {built.stderr[-200:]}")
    (wheel,) = home.glob("kd-*.whl")
    venv, python = home / "venv", home / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--python", str(python), str(wheel)]
    subprocess.run(install, check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    away = home / "away"
    away.mkdir()

    def run(*arguments, cwd=away, status=0):
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        command = [str(venv / "bin" / "kd"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.directory, run.wheel = away, wheel
    return run


def test_configs_and_tables_are_found_by_name(kd):
    assert str(kd.wheel.parent) in kd("configs", "digits", "--path")
    assert "kd:digits " in kd("configs") and "kd:labels " in kd("experiments")
    printed = kd("run", "--config", "kd:digits", "--print_config")
    assert "config: kd:digits:role=teacher" in printed
    table = kd("table", "kd:labels", "--print")
    assert "Accuracy by labelled images" in table and "95.22" in table
    assert "is part of kd" in kd("table", "kd:labels", "--publish", status=2)


def test_a_missing_teacher_is_trained(kd):
    kd("run", "--config", "kd:takd:path=4-2,smoke")
    assert len(list(kd.directory.glob("runs/takd-*/result.json"))) == 2
    assert "takd" in kd("run", "--config", "configs/takd.py:path=4-2,smoke")  # finished


def test_a_project_runs(kd):
    kd("init", "drone")
    place = kd.directory / "drone"
    short = ["--config.epochs=3", "--config.seeds=1"]
    for role in ("teacher", "labels"):
        kd("run", "--config", f"config.py:{role}", *short, cwd=place)
    assert len(list(place.glob("runs/*/result.json"))) == 2


def test_an_extra_is_installed_from_the_wheel(kd):
    """The message of a format that needs one names the file that kd came from."""
    code = "from kd import extras; print(extras.command('tflite'))"
    python = kd.wheel.parent / "venv" / "bin" / "python"
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command, where = [python, "-c", code], {"cwd": kd.directory, "env": env}
    done = subprocess.run(command, capture_output=True, text=True, **where)
    assert f"'kd[tflite] @ file://{kd.wheel}'" in done.stdout, done.stderr
