"""Benchmarks and their results as JSON.

Each row is written as soon as it is measured, so that an interrupted run can be resumed.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax

from benchmarks.timer import interleave
from kd.devices import processor
from kd.errors import InputError
from kd.runs.environment import git_commit, hardware

NAMES = (
    "fused",
    "operations",
    "ceiling",
    "waiting",
    "convolutions",
    "ensembles",
    "seeds",
    "transformers",
    "mixing",
    "cached",
    "allocators",
    "pipeline",
    "growth",
    "accumulation",
    "devices",
    "compilation",
    "objectives",
    "pytorch",
    "loops",
    "runs",
    "throughput",
    "engines",
)
"""Benchmarks of this package, in the order in which they run."""

RESULTS = Path(__file__).parent / "results"

STEADY, TRIES = 1.3, 3
"""Rounds are steady if the first part's largest time is at most STEADY times its smallest.

Unsteady rounds are repeated, up to TRIES times in total.
"""

type Row = dict[str, Any]
"""`case`, `seconds` {part: a number for each round}, `processor_seconds` likewise, `tries`, the
final `load` of the machine, and facts of the case.
"""


class Prepared(NamedTuple):
    """A case ready to be timed: `parts`, which are called alternately, and facts to store."""

    parts: dict[str, Callable[[], Any]]
    facts: dict[str, Any]
    warmup: int = 1  # untimed rounds
    repeats: int = 0  # rounds; 0: as the benchmark


class Case(NamedTuple):
    """A row to measure. `make` compiles; it is called only if the row is missing."""

    name: str
    make: Callable[[], Prepared]


class Benchmark(Protocol):
    """A module of this package with a benchmark."""

    TITLE: str
    REPEATS: int  # rounds, unless the command sets --repeats

    def cases(self, toy: bool) -> Sequence[Case]:
        """The rows to measure; `toy` ones take seconds and only show that it works."""
        ...

    def table(self, rows: Sequence[Row]) -> list[list[str]]:
        """Lines of cells; the first is the head."""
        ...


def setting() -> dict[str, Any]:
    """What all numbers of a file have in common."""
    flags = processor.flags()
    cpu = {"model": processor.model(), "flags": [f for f in processor.RECORDED if f in flags]}
    return {"jax": jax.__version__, "hardware": hardware(), "processor": cpu}


def measure(
    name: str,
    benchmark: Benchmark,
    out: Path,
    repeats: int = 0,
    toy: bool = False,
    only: str = "",
    tell: Callable[[str], None] = print,
) -> list[Row]:
    """Measures the cases that `out/NAME.json` lacks, adds each to it and returns all rows.

    Args:
      name: of the file.
      benchmark: what to measure.
      out: directory of the files.
      repeats: rounds; 0 for the benchmark's default.
      toy: tiny sizes.
      only: text that the names of the cases must contain.
      tell: called with a line before each case.

    Raises:
      InputError: the file's rows were measured on other hardware or with another jax.
    """
    path = out / f"{name}.json"
    cases = benchmark.cases(toy)
    content: dict[str, Any] = {"title": benchmark.TITLE, **setting(), "toy": toy, "rows": []}
    if path.exists():
        before = json.loads(path.read_text())
        for key in ("jax", "hardware", "processor", "toy"):
            if before.get(key) != content[key]:
                raise InputError(
                    f"{path} was measured with {key} {before.get(key)}, here it is {content[key]}: "
                    "a table cannot have rows of different settings. Give another --out, or remove "
                    "the file."
                )
        content = before
    done = {row["case"] for row in content["rows"]}
    for case in cases:
        if case.name in done or only not in case.name:
            continue
        tell(f"{name}: {case.name}")
        prepared = case.make()
        tries, seconds, spent = steadily(prepared, repeats or prepared.repeats or benchmark.REPEATS)
        row = {"case": case.name, "seconds": seconds, "processor_seconds": spent, "tries": tries}
        row |= prepared.facts
        row |= {"load": round(os.getloadavg()[0], 2), "commit": git_commit()}
        content["rows"].append(row)
        out.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(content, indent=1) + "\n")
        part.replace(path)
    order = [case.name for case in cases]
    known = [row for row in content["rows"] if row["case"] in order]
    return sorted(known, key=lambda row: order.index(row["case"]))


def steadily(
    prepared: Prepared, repeats: int
) -> tuple[int, dict[str, list[float]], dict[str, list[float]]]:
    """Measures until the rounds are steady.

    Returns:
      The number of tries, the seconds of the last one, and the processors' seconds in it.
    """
    tries = 0
    while True:
        spent: dict[str, list[float]] = {}
        tries, seconds = tries + 1, interleave(prepared.parts, repeats, prepared.warmup, spent)
        if steady(next(iter(seconds.values()))) or tries == TRIES:
            return tries, seconds, spent


def steady(seconds: Sequence[float]) -> bool:
    """True if rounds are steady, from the times of their first part."""
    return max(seconds) <= STEADY * min(seconds)


def marked(rows: Sequence[Row]) -> list[Row]:
    """The rows, with a star after the names of cases whose rounds were never steady."""
    first = lambda row: next(iter(row["seconds"].values()))
    star = lambda row: "" if steady(first(row)) else " *"
    return [row | {"case": row["case"] + star(row)} for row in rows]


def rows(name: str, out: Path = RESULTS) -> list[Row]:
    """The stored rows of a benchmark; none if it was not run."""
    return stored(name, out).get("rows", [])


def stored(name: str, out: Path = RESULTS) -> dict[str, Any]:
    """The stored file of a benchmark: settings and rows; empty if it was not run."""
    path = out / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def machines(out: Path = RESULTS) -> list[list[str]]:
    """Lines of cells: on which processor each benchmark was run, with its vector instructions."""
    lines = [["benchmarks", "processor", "cores", "instructions", "jax"]]
    names: dict[tuple[str, ...], list[str]] = {}
    for name in NAMES:
        if content := stored(name, out):
            cpu = content.get("processor", {})
            hardware = content["hardware"]
            flags = ", ".join(cpu.get("flags", ())) or "not recorded"
            model = cpu.get("model", "not recorded")
            facts = (model, str(hardware["cores"]), flags, content["jax"])
            names.setdefault(facts, []).append(name)
    return lines + [[", ".join(sorted(of)), *facts] for facts, of in names.items()]


def grid(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns, for a terminal."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Cells as a Markdown table."""
    head, *rest = lines
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rest))
