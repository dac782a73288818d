"""The step of KD with several memory allocators.

XLA allocates a step's large blocks again in every step. glibc requests large blocks from the kernel
and returns them. jemalloc and tcmalloc, loaded into the process by LD_PRELOAD, keep them, and so
does glibc with the right settings; jemalloc also requests huge pages.
"""

import ctypes.util
import os
from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Prepared, Row
from benchmarks.seeds import together
from benchmarks.steps import CIFAR, Problem, Stepper, step_of
from benchmarks.timer import ratio
from benchmarks.worker import Worker

TITLE = "step of KD by allocator, over glibc's defaults: processor time"
REPEATS = 15

LIBRARIES = {"jemalloc": "jemalloc", "tcmalloc": "tcmalloc_minimal"}
SETTINGS = {
    "glibc": {"LD_PRELOAD": ""},
    "glibc again": {"LD_PRELOAD": ""},
    "glibc, no memory trimming": {
        "LD_PRELOAD": "",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
    },
    "jemalloc": {"MALLOC_CONF": "thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1"},
    "tcmalloc": {"TCMALLOC_RELEASE_RATE": "0"},
}
"""Allocator -> environment of its process. A library that is not installed is left out."""


def cases(toy: bool) -> Sequence[Case]:
    """The reference pair with batches of 64, and five students in one program."""
    nets, size, seeds = (TOYS, 8, 2) if toy else (KINDS, 64, 5)
    problem = lambda net: Problem(net, net, size, SHAPE, CLASSES, 512)
    problems = {f"{kind}, {seeds} seeds": (problem(nets[kind]), seeds) for kind in ("CNN", "MLP")}
    if not toy:
        problems["wrn_40_2 to wrn_16_2"] = CIFAR, 1
    return [Case(name, partial(_make, *arguments)) for name, arguments in problems.items()]


def step(problem: Problem, seeds: int) -> Stepper:
    """The step that is timed, in a process of its own."""
    single = step_of("kd", problem)
    how = "unroll" if "CNN" in problem.student["name"] else "vmap"
    return together(single, seeds, how) if seeds > 1 else single


def environments() -> dict[str, Mapping[str, str]]:
    """SETTINGS of the installed allocators, with the paths of their libraries."""
    settings: dict[str, Mapping[str, str]] = {}
    for name, setting in SETTINGS.items():
        if name not in LIBRARIES:
            settings[name] = setting
        elif library := ctypes.util.find_library(LIBRARIES[name]):
            settings[name] = {"LD_PRELOAD": library, **setting}
    return settings


def _make(problem: Problem, seeds: int) -> Prepared:
    parts = {
        name: Worker(step, problem, seeds, environment=environment)
        for name, environment in environments().items()
    }
    return Prepared(dict(parts), {"cores": os.cpu_count()})


def table(rows: Sequence[Row]) -> list[list[str]]:
    """CPU time divided by that with glibc, as median [smallest, largest] of the rounds."""
    names = [name for name in SETTINGS if name != "glibc"]
    lines = [["pair", *names]]
    for row in rows:
        seconds = row["seconds"]
        glibc = seconds["glibc"]
        cells = [str(ratio(seconds[n], glibc)) if n in seconds else "" for n in names]
        lines.append([row["case"], *cells])
    return lines
