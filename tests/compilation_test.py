"""Compiled programs are kept where the user says, found again, and change no bit."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import kd
from kd.devices import compilation
from kd.errors import InputError
from kd.runs.workdir import Workdir

OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_compilation_cache_max_size",
)


@pytest.fixture(autouse=True)
def as_it_was():
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_programs_are_kept_in_the_directory_that_is_named(tmp_path: Path):
    compilation.configure_cache(str(tmp_path / "here"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.jit(lambda x: x * 3.0 + 1.5)(jnp.ones(7)).block_until_ready()
    assert list((tmp_path / "here").glob("*-cache"))


def test_the_default_is_the_environments_and_else_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given = jax.config.jax_compilation_cache_dir  # pyrefly: ignore
    compilation.configure_cache("default")
    assert jax.config.jax_compilation_cache_dir == given  # pyrefly: ignore
    compilation.configure_cache("none")
    assert jax.config.jax_compilation_cache_dir is None  # pyrefly: ignore
    compilation.configure_cache("default")
    assert (tmp_path / "kd/xla").is_dir()
    assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "kd/xla"  # pyrefly: ignore


def test_a_directory_that_cannot_be_is_refused_and_a_read_only_home_is_not(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"config\.compilation_cache: .*'none'"):
        compilation.configure_cache(str(tmp_path / "file/below"))
    compilation.configure_cache("none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compilation.configure_cache("default")
    assert jax.config.jax_compilation_cache_dir is None  # pyrefly: ignore


@pytest.mark.slow
def test_a_second_run_compiles_less_and_learns_the_same(small_config: Path):
    command = [sys.executable, "-m", "kd", "run", "--config", "small.py:teacher"]
    for name in ("cold", "warm"):
        options = ["--workdir", name, "--config.compilation_cache=programs"]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        subprocess.run([*command, *options], env=env, check=True, capture_output=True)
    cold, warm = Workdir("cold"), Workdir("warm")
    for key, values in cold.predictions().items():
        np.testing.assert_array_equal(values, warm.predictions()[key])
    seconds = [run.read("result.json")["compile_seconds"] for run in (cold, warm)]
    assert seconds[1] < 0.5 * seconds[0], seconds


def test_small_programs_are_stored_in_a_directory_of_the_environment_too(monkeypatch):
    option = "jax_persistent_cache_min_compile_time_secs"

    def limit(before: float) -> float:
        jax.config.update(option, before)
        compilation.configure_cache("default")
        return getattr(jax.config, option)

    assert jax.config.jax_compilation_cache_dir is not None  # pyrefly: ignore
    assert limit(1.0) == 0.1 and limit(0.0) == 0.0
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1.0")
    assert limit(1.0) == 1.0


def test_distill_keeps_its_programs_as_a_run_does(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compilation.configure_cache("none")
    refused = dict(teacher=3, student=None, data=(np.zeros((4, 2, 2)), np.arange(4) % 2))
    with pytest.raises(InputError, match=r"expected a kd\.Run"):
        kd.distill(**refused, compilation_cache="none")
    assert jax.config.jax_compilation_cache_dir is None  # pyrefly: ignore
    with pytest.raises(InputError, match=r"expected a kd\.Run"):
        kd.distill(**refused)
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "kd/xla")  # pyrefly: ignore
