"""Sixty stops of small runs and reports, by SIGKILL, SIGTERM and SIGINT, at arranged and at random
moments: each ends with its documented status, and the same command then gives the bits of a run
that was not stopped.
"""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from resume_test import assert_same

from kd.runs.workdir import Workdir

HERE = Path(__file__).parent
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="arrays", path="{data}")
    c.batch_size, c.epochs, c.steps_per_call = 32, 3, 2
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.objective = dict(ce=dict(name="ce.CE"))
    c.checkpoint = dict(seconds=0.0)
    if arg != "teacher":
        c.teacher = dict(config="kills.py:teacher", cache="float32")
        c.objective.kd = dict(name="kd.KD", temperature=2.0)
    return c
"""
TEACHER = ("run", "--config", "kills.py:teacher", "--stopped_status", "75")
STUDENT = ("run", "--config", "kills.py", "--stopped_status", "75")
REPORT = ("report", "runs/kills", "--stored")


class Forks:
    """The process of `forked.py`."""

    def __init__(self, log: Path):
        environment = os.environ | {
            "OPENBLAS_NUM_THREADS": "1",  # a process of one thread, which may be forked
            "JAX_NUM_CPU_DEVICES": "1",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "forked.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )

    def run(self, home: Path, arguments: tuple[str, ...], moment: Any = None) -> tuple[int, str]:
        """The exit status of a command, and what it printed."""
        assert self._process.stdin and self._process.stdout
        output = home / "output.txt"
        output.unlink(missing_ok=True)
        request = dict(cwd=str(home), arguments=arguments, output=str(output), moment=moment)
        print(json.dumps(request), file=self._process.stdin, flush=True)
        self._process.stdout.readline()
        return int(self._process.stdout.readline()), output.read_text()

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    forks = Forks(tmp_path_factory.mktemp("forks") / "log.txt")
    yield forks
    forks.close()


@pytest.fixture(scope="module")
def reference(forks: Forks, tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Path:
    """A directory with everything done and never stopped."""
    home = tmp_path_factory.mktemp("reference")
    (home / "kills.py").write_text(CONFIG.replace("{data}", str(small_data)))
    for arguments in (STUDENT, REPORT):
        status, printed = forks.run(home, arguments)
        assert status == 0, printed
    return home


@dataclasses.dataclass(frozen=True)
class Case:
    """A stop: of which command, with what already done, at which moment, by which signal."""

    number: int
    stage: str
    signal: str
    when: str
    count: int

    @property
    def arguments(self) -> tuple[str, ...]:
        return {"import": TEACHER, "teacher": STUDENT, "report": REPORT}.get(self.stage, STUDENT)

    @property
    def done(self) -> tuple[str, ...]:
        """The runs that exist before."""
        return {
            "import": (),
            "teacher": (),
            "report": ("kills-teacher", "kills"),
        }.get(self.stage, ("kills-teacher",))

    def __str__(self) -> str:
        return f"{self.number}-{self.stage}-{self.signal}-{self.when}-{self.count}"


MOMENTS = {
    # stage: moments, and how often each comes at least
    "import": {"import": 400},
    "compile": {"compile": 25, "setup": 1, "data": 2, "garbage": 20, "time": 2500},
    "teacher": {"row": 12, "flush": 12, "save": 12, "compile": 20, "garbage": 20, "time": 2500},
    "save": {
        "claim": 1,
        "save": 12,
        "wait": 1,
        "close": 1,
        "describe": 1,
        "write": 4,
        "rename": 6,
        "time": 3500,
    },
    "report": {"content": 1, "text": 1, "page": 1, "rename": 3, "time": 1500},
}


def cases() -> list[Case]:
    """Twelve of each stage, four of each signal."""
    draw, listed = random.Random(19), []
    for stage, moments in MOMENTS.items():
        for i in range(12):
            when = list(moments)[i % len(moments)] if len(moments) > 1 else "import"
            count = draw.randint(1, moments[when])
            listed.append(Case(len(listed), stage, SIGNALS[i % 3], when, count))
    return listed


IMPORTS = """
import os, signal, sys

class Counts:
    left = {count}
    def find_spec(self, *_):
        Counts.left -= 1
        if Counts.left == 0:
            open("fired", "w").close()
            os.kill(os.getpid(), signal.{signal})

from kd.cli import main
sys.meta_path.insert(0, Counts())
sys.argv = ["kd", *{arguments}]
sys.exit(main.main())
"""


def stop(case: Case, forks: Forks, home: Path) -> tuple[int, str]:
    """The exit status and the output of the command, stopped as the case says."""
    if case.stage == "import":
        code = IMPORTS.format(count=case.count, signal=case.signal, arguments=case.arguments)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr
    moment = dict(signal=case.signal, when=case.when, count=case.count, fired=str(home / "fired"))
    return forks.run(home, case.arguments, moment)


@pytest.mark.campaign
@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_stopped_command_ends_as_documented_and_goes_on_to_the_same_bits(
    case, forks, reference, tmp_path
):
    shutil.copy(reference / "kills.py", tmp_path)
    for run in case.done:
        shutil.copytree(reference / "runs" / run, tmp_path / "runs" / run)
    shutil.rmtree(tmp_path / "runs/kills/report", ignore_errors=True)
    begin = time.monotonic()
    status, printed = stop(case, forks, tmp_path)
    fired = (tmp_path / "fired").exists()
    assert fired or (case.when == "time" and status == 0), f"it never came to it: {printed}"
    killed = -signal.SIGKILL
    stopped = {"SIGKILL": killed}.get(case.signal, 130 if case.stage == "report" else 75)
    last_moment = case.when in ("time", "garbage", "page", "rename", "write", "import")
    assert status == stopped or (status == 0 and (not fired or last_moment)), printed
    assert status != 0 or is_done(case, tmp_path), printed
    assert "Traceback" not in printed and "Exception ignored" not in printed, printed
    if status not in (0, killed):
        again = "begins anew" if case.stage == "report" else "resumes"
        assert f"The same command {again}" in printed.splitlines()[-1], printed
    print(f"{status} after {time.monotonic() - begin:.1f} s")
    status, printed = forks.run(tmp_path, case.arguments)
    assert status == 0, printed
    for run in {"import": ["kills-teacher"]}.get(case.stage, ["kills-teacher", "kills"]):
        ours, theirs = Workdir(tmp_path / "runs" / run), Workdir(reference / "runs" / run)
        assert_same(ours, theirs)
        if case.stage == "import":
            assert names(ours) == names(theirs) - {"outputs"}  # the cache for the student
        elif case.stage != "report":
            assert names(ours) == names(theirs) - {"report"}
    if case.stage == "report":
        for name in ("report.html", "report.json", "report.md"):
            ours, theirs = (h / "runs/kills/report" / name for h in (tmp_path, reference))
            assert ours.read_text() == theirs.read_text()


def is_done(case: Case, home: Path) -> bool:
    """Whether the command had finished its work."""
    if case.stage == "report":
        return (home / "runs/kills/report/report.html").exists()
    return Workdir(
        home / "runs" / ("kills-teacher" if case.stage == "import" else "kills")
    ).finished


def names(run: Workdir) -> set[str]:
    """The names of the files that a run leaves."""
    return {path.name for path in run.path.iterdir()}
