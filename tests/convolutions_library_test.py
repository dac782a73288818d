"""The library that calls oneDNN: where it is not available, and shared by processes."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kd import config as configs
from kd.config import ConfigDict
from kd.config.identity import config_hash
from kd.convolutions import library, problem
from kd.devices.mesh import make_mesh
from kd.errors import InputError
from kd.train import convolving
from tests.convolutions_test import needs_onednn


def test_why_it_is_not_available(tmp_path, monkeypatch):
    """Each reason says what to do; a compiler that fails is quoted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reason = lambda: str(library._load.__wrapped__())
    monkeypatch.setattr(library, "_RUNTIME", "kd-no-such-package")
    if sys.platform == "linux":
        assert "kd-no-such-package is not installed; install it with:" in reason()
    monkeypatch.setattr(library, "_installed", lambda: (tmp_path / "libdnnl.so.3", tmp_path))
    assert "cannot be loaded" in reason()
    monkeypatch.setattr(library, "_open", lambda path: ctypes.CDLL(None))
    monkeypatch.setattr(library.shutil, "which", lambda name: None)
    assert reason() == "there is no C++ compiler; install g++, or name one in $CXX"


def test_a_demand_is_met_or_refused_and_auto_takes_what_is_there(monkeypatch, capsys):
    def unavailable():
        raise library.Unavailable("it is elsewhere; fetch it")

    settings = ("auto", "xla", "onednn")
    auto, xla, demanded = (
        configs.complete(ConfigDict({"devices": {"convolutions": s}})) for s in settings
    )
    assert len({config_hash(config.to_dict()) for config in (auto, xla, demanded)}) == 1
    monkeypatch.setattr(library, "load", unavailable)
    with pytest.raises(InputError, match="'onednn': it is elsewhere; fetch it"):
        convolving.check(demanded)
    assert convolving.choose(auto, make_mesh(), convolves=False) == "xla"
    assert not capsys.readouterr().err
    for _ in range(2):
        assert convolving.choose(auto, make_mesh(), convolves=True) == "xla"
    assert capsys.readouterr().err.count("it is elsewhere; fetch it") == 1
    monkeypatch.setattr(library, "load", lambda: None)
    assert convolving.choose(auto, make_mesh(), convolves=True) == "onednn"
    assert convolving.choose(xla, make_mesh(), convolves=True) == "xla"


@needs_onednn
def test_what_onednn_has_no_code_for_is_asked_for_again():
    """As in a process that compiles bfloat16 twice on a processor without it."""
    two_groups_of_three_channels = problem.Problem(
        kind=problem.FORWARD,
        stack=1,
        n=2,
        h=8,
        w=8,
        c=3,
        oh=8,
        ow=8,
        o=4,
        kh=3,
        kw=3,
        groups=2,
        strides=(1, 1),
        dilations=(1, 1),
        padding=(1, 1),
        steps=(2, 1, 4, 12, 4),
    )
    numbers = two_groups_of_three_channels.numbers()
    assert [library.load().implementation(numbers, (0, 0, 0)) for _ in range(2)] == ["", ""]


@needs_onednn
@pytest.mark.slow
def test_two_processes_compile_the_library_once(tmp_path):
    """At the same time, into an empty cache; a third finds a damaged file and writes it anew."""
    code = "from kd.convolutions import library; print(library.load().version)"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    start = lambda: subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )
    done = [(process, process.communicate()) for process in (start(), start())]
    assert all(process.returncode == 0 for process, _ in done), done
    (file,) = (tmp_path / "kd/convolutions").glob("*.so")
    file.write_bytes(b"damaged")
    process = start()
    assert process.communicate()[0] == done[0][1][0] and file.stat().st_size > 10_000


@needs_onednn
@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    reason = str(library._load.__wrapped__())
    assert "cannot be written" in reason and "XDG_CACHE_HOME" in reason


@needs_onednn
@pytest.mark.slow
def test_a_stored_program_serves_another_process(tmp_path):
    """jax's cache of compiled programs: the second process compiles nothing."""
    code = (
        "import jax, jax.monitoring\n"
        "from tests.convolutions_test import *\n"
        "events = []\n"
        "jax.monitoring.register_event_listener(lambda name, **_: events.append(name))\n"
        "jax.config.update('jax_compilation_cache_dir', DIRECTORY)\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)\n"
        "function = functools.partial(convolution, 'strided')\n"
        "fast = lowering.compiled_by('onednn', jax.jit(function))\n"
        "arguments = operands('strided')\n"
        "events.clear()\n"
        "print(np.asarray(fast(*arguments)).sum(), sum('cache_hits' in name for name in events))\n"
    ).replace("DIRECTORY", repr(str(tmp_path)))
    outputs = []
    for _ in range(2):
        process = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert process.returncode == 0, process.stderr
        outputs.append(process.stdout.split())
    assert outputs[0][0] == outputs[1][0]
    assert (outputs[0][1], outputs[1][1]) == ("0", "1")
