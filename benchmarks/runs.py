"""Processor seconds of complete commands, with XLA's convolutions and with oneDNN's."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import libraries
from benchmarks.compilation import ROOT
from benchmarks.record import Case, Prepared, Row
from benchmarks.timer import ratio

TITLE = "processor time of one epoch of a run, by the library of its convolutions"
REPEATS = 1

CONFIGS = {
    "configs/digits.py:role=labels,labelled=all": 3,
    "configs/fashion_mnist.py:role=teacher": 1,
    "configs/cifar100.py:method=labels,student=resnet8x4": 1,
}
"""Configs, and rounds: the last two take minutes."""


def cases(toy: bool) -> Sequence[Case]:
    """One epoch of each of CONFIGS."""
    named = list(CONFIGS.items())[:1] if toy else CONFIGS.items()
    return [Case(name, partial(_make, name, repeats)) for name, repeats in named]


def _make(config: str, repeats: int) -> Prepared:
    home = Path(tempfile.mkdtemp(prefix="kd-benchmark-"))
    data = _noise(home / "data.npz") if "cifar100" in config else []
    count = 0

    def run(library: str) -> Callable[[], float]:
        def call() -> float:
            nonlocal count
            count += 1
            options = [
                *("--workdir", str(home / f"{library}{count}")),
                "--config.epochs=1",
                *([] if "cifar100" in config else ["--config.schedule.warmup=0.0"]),
                "--config.compilation_cache=none",
                f"--config.devices.convolutions={library}",
                *data,
            ]
            before, start = _children(), time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "kd", "run", "--config", config, *options],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )
            walls[library].append(time.perf_counter() - start)
            return _children() - before

        return call

    walls: dict[str, list[float]] = {library: [] for library in libraries.available()}
    parts = {library: run(library) for library in walls}
    return Prepared(parts, {"wall": walls}, warmup=0, repeats=repeats)


def _noise(path: Path) -> list[str]:
    """Options for a set like CIFAR-100 whose pixels are noise, which take the same time."""
    draw = lambda n: np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), np.uint8)
    label = lambda n: np.arange(n) % 100
    np.savez(
        path, x_train=draw(50000), y_train=label(50000), x_test=draw(10000), y_test=label(10000)
    )
    return ["--config.data.name=arrays", f"--config.data.path={path}"]


def _children() -> float:
    """Processor seconds of the finished child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Seconds at the quickest, compilation included, and their ratio."""
    lines = [["one epoch", "XLA's convolutions", "oneDNN's", "ratio"]]
    for row in rows:
        seconds = row["seconds"]
        both = [seconds.get(library) for library in (libraries.XLA, libraries.ONEDNN)]
        cells = [f"{min(times):.1f} s" if times else "" for times in both]
        quotient = str(ratio(both[1], both[0])) if all(both) else ""
        lines.append([row["case"], *cells, quotient])
    return lines
