"""`config.profile` writes a trace of some updates into the run directory."""

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.cli.main import main
from kd.runs.workdir import Workdir
from kd.train.profile import Profile


def events(directory: Path) -> list[dict]:
    """Returns the events of the only trace in a directory."""
    (file,) = directory.glob("plugins/profile/*/perfetto_trace.json.gz")
    return json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]


def test_the_first_dispatch_is_left_out_and_the_rest_counted(tmp_path: Path):
    seen = []

    @jax.jit
    def double(x, count):
        return x * 2.0

    def update(x, count):
        seen.append(profile._on)
        return double(x, count)

    with Profile(tmp_path, 3) as profile:
        watched = profile.watch({8: update})
        for _ in range(4):
            watched[8](jnp.ones(4), jnp.int32(2))
    assert seen == [False, True, True, False]  # two dispatches of two updates
    assert any("double" in str(event.get("name")) for event in events(tmp_path))


def test_without_a_trace_the_updates_are_not_wrapped(tmp_path: Path):
    given = {8: lambda: None}
    with Profile(tmp_path, 0) as profile:
        assert profile.watch(given) is given
    assert not list(tmp_path.iterdir())


def test_a_run_that_ends_early_has_a_shorter_trace(tmp_path: Path):
    with Profile(tmp_path, 99) as profile:
        watched = profile.watch({8: lambda count: count})
        for _ in range(2):
            watched[8](jnp.int32(1))
    assert events(tmp_path)


@pytest.mark.slow
def test_a_trace_does_not_change_the_run(small_config: Path):
    reference = ["run", "--config", "small.py:teacher"]
    assert main([*reference, "--workdir", "plain"]) == 0
    assert main([*reference, "--workdir", "traced", "--config.profile=2"]) == 0
    assert events(Path("traced/profile"))
    plain, traced = (Workdir(n).predictions()["logits"] for n in ("plain", "traced"))
    np.testing.assert_array_equal(plain, traced)
    assert main([*reference, "--config.profile=-1"]) == 2
