"""What a benchmark is, and its results as JSON: a row as soon as it is measured, so that a run that
was cut goes on.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax

from benchmarks.timer import interleave
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
    "cached",
    "allocators",
    "pipeline",
    "growth",
    "devices",
    "compilation",
    "objectives",
    "pytorch",
)
"""Files of this package that measure something, in the order in which they run."""

RESULTS = Path(__file__).parent / "results"

STEADY, TRIES = 1.3, 3
"""Largest over smallest time of the first part in rounds that count as quiet, and how often to wait
for such rounds.
"""

type Row = dict[str, Any]
"""`case`, `seconds` {part: a number for each round}, `tries`, `load` of the machine at its end, and
facts of the case.
"""


class Made(NamedTuple):
    """A case ready to be timed: `parts`, called in turn; and what else is known of it."""

    parts: dict[str, Callable[[], Any]]
    facts: dict[str, Any]


class Case(NamedTuple):
    """A row that is to be. `make` compiles; it is called only where the row is missing."""

    name: str
    make: Callable[[], Made]


class Benchmark(Protocol):
    """A module of this package that measures something."""

    TITLE: str
    REPEATS: int  # rounds, unless the command says otherwise

    def cases(self, toy: bool) -> Sequence[Case]:
        """The rows to measure; `toy` ones take seconds and show that it works, nothing else."""
        ...

    def table(self, rows: Sequence[Row]) -> list[list[str]]:
        """Lines of cells, the head first."""
        ...


def setting() -> dict[str, Any]:
    """What numbers of one file have in common."""
    return {"jax": jax.__version__, "hardware": hardware()}


def measure(
    name: str,
    benchmark: Benchmark,
    out: Path,
    repeats: int = 0,
    toy: bool = False,
    only: str = "",
    tell: Callable[[str], None] = print,
) -> list[Row]:
    """Measures the cases that `out/NAME.json` lacks and adds each to it. Returns all rows.

    Args:
      name: of the file.
      benchmark: what to measure.
      out: directory of the files.
      repeats: rounds; 0 for the benchmark's own.
      toy: tiny sizes.
      only: text that a case's name must have.
      tell: where a line goes before each case.

    Raises:
      InputError: the file's rows were measured on other hardware or by another jax.
    """
    path = out / f"{name}.json"
    cases = benchmark.cases(toy)
    content: dict[str, Any] = {"title": benchmark.TITLE, **setting(), "toy": toy, "rows": []}
    if path.exists():
        stored = json.loads(path.read_text())
        for key in ("jax", "hardware", "toy"):
            if stored[key] != content[key]:
                raise InputError(
                    f"{path} was measured with {key} {stored[key]}, here it is {content[key]}: "
                    "rows that are not of one setting cannot stand in one table. Give another "
                    "--out, or remove it."
                )
        content = stored
    done = {row["case"] for row in content["rows"]}
    for case in cases:
        if case.name in done or only not in case.name:
            continue
        tell(f"{name}: {case.name}")
        made = case.make()
        tries, seconds = steadily(made, repeats or benchmark.REPEATS)
        row = {"case": case.name, "seconds": seconds, "tries": tries, **made.facts}
        row |= {"load": round(os.getloadavg()[0], 2), "commit": git_commit()}
        content["rows"].append(row)
        out.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(content, indent=1) + "\n")
        part.replace(path)
    order = [case.name for case in cases]
    known = [row for row in content["rows"] if row["case"] in order]
    return sorted(known, key=lambda row: order.index(row["case"]))


def steadily(made: Made, repeats: int) -> tuple[int, dict[str, list[float]]]:
    """How often it was tried, and seconds: again where other work made the first part's own times
    differ too much.

    The last try stands, whatever it shows.
    """
    tries = 0
    while True:
        tries, seconds = tries + 1, interleave(made.parts, repeats)
        if steady(next(iter(seconds.values()))) or tries == TRIES:
            return tries, seconds


def steady(seconds: Sequence[float]) -> bool:
    """Whether rounds count as quiet, by the times of their first part."""
    return max(seconds) <= STEADY * min(seconds)


def marked(rows: Sequence[Row]) -> list[Row]:
    """Rows whose case has a star where no try was quiet."""
    first = lambda row: next(iter(row["seconds"].values()))
    star = lambda row: "" if steady(first(row)) else " *"
    return [row | {"case": row["case"] + star(row)} for row in rows]


def rows(name: str, out: Path = RESULTS) -> list[Row]:
    """The stored rows of a benchmark; none where it was not run."""
    path = out / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


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
