"""Time that `kd run` spends on compilation: without stored programs, and with them."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.record import Case, Prepared, Row
from benchmarks.timer import ratio
from kd.runs.workdir import Workdir

TITLE = "XLA's seconds and the whole command's, with the programs of a former run over without"
REPEATS = 5

ROOT = Path(__file__).parents[1]
CONFIG = "configs/digits.py:role=labels,labelled=all"


def cases(toy: bool) -> Sequence[Case]:
    """A run of one epoch, whose time is all start and compilation."""
    networks = {"MLP": "--config.student.name=mlp.MLP"} if toy else {"digits": ""}
    return [Case(name, partial(_make, extra)) for name, extra in networks.items()]


def _make(extra: str) -> Prepared:
    home = Path(tempfile.mkdtemp(prefix="kd-benchmark-"))
    spent: dict[str, list[float]] = {"without": [], "with": []}

    def run(name: str, directory: str) -> Callable[[], None]:
        def call() -> None:
            workdir = Workdir(home / f"{name}{len(spent[name])}")
            options = ["--workdir", str(workdir), extra]
            options += ["--config.epochs=1", "--config.schedule.warmup=0.0"]
            options.append(f"--config.compilation_cache={directory}")
            command = [sys.executable, "-m", "kd", "run", "--config", CONFIG]
            env = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}
            subprocess.run(
                [*command, *filter(None, options)],
                cwd=ROOT,
                env=env,
                check=True,
                capture_output=True,
            )
            spent[name].append(workdir.read("result.json")["compile_seconds"])

        return call

    parts = {"without": run("without", "none"), "with": run("with", str(home / "xla"))}
    return Prepared(parts, {"compile_seconds": spent})


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Ratios as median [smallest, largest] of the rounds, without the first, which stores them."""
    head = ["run", "XLA's seconds, with over without", "whole command"]
    lines = []
    for row in rows:
        compiled = row["compile_seconds"]
        times = row["seconds"]
        n = len(times["with"])
        quotients = ratio(compiled["with"][-n:], compiled["without"][-n:])
        lines.append([row["case"], str(quotients), str(ratio(times["with"], times["without"]))])
    return [head, *lines]
