"""Runs one published cell again and compares. Imports no jax."""

import dataclasses
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kd.errors import InputError
from kd.files.writing import replacing
from kd.runs.workdir import Workdir
from kd.tables import cell_text, published, results
from kd.tables.plan import Run
from kd.tables.table import Cell, Experiment

_BEGUN = "cell.txt"
"""File of a check's directory: the cell that is run again. Removed when the check has ended."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Result of re-running a published cell.

    Attributes:
      line: the numbers, in words.
      same: True if the means are within two standard errors of each other.
    """

    line: str
    same: bool


def begin(root: Path, experiment: Experiment, cell: Cell) -> None:
    """Writes down which cell is checked in a directory, for `draw` after a stop."""
    root.mkdir(parents=True, exist_ok=True)
    with replacing(root / _BEGUN) as part:
        part.write_text(_text(experiment, cell))


def end(root: Path) -> None:
    """The check in a directory has a verdict, or cannot have one."""
    (root / _BEGUN).unlink(missing_ok=True)


def _text(experiment: Experiment, cell: Cell) -> str:
    """What tells a cell from others, by lines."""
    metric = f"{cell.metric}, {cell.select}"
    return "\n".join((experiment.name, cell.reference, metric, cell.name, ""))


def draw(
    root: str,
    experiment: Experiment,
    runs: Mapping[str, Run],
    content: Mapping[str, Any],
    cells: Sequence[Cell],
) -> tuple[Path, Cell]:
    """A published cell, another one in each call, and the directory to run it again in; those of a
    check that was stopped, if there is one. A check that another process is running is left to it.

    Args:
      root: where directories of checks are.
      experiment: which one.
      runs: its runs by reference.
      content: of its published results.
      cells: to draw from.

    Raises:
      InputError: no cell is published with two seeds or more, which a spread needs.
    """
    known = [c for c in cells if len(_published(c, runs, content, experiment) or []) > 1]
    if not known:
        raise InputError(
            f"--check: {experiment.published} has no such cell with two seeds or more, and one "
            "seed has no standard error."
        )
    texts = {_text(experiment, cell): cell for cell in known}
    for file in sorted(Path(root).glob(f"check-*/{_BEGUN}")):
        cell = texts.get(file.read_text(errors="replace"))
        if cell and not any(Workdir(run).holder() for run in file.parent.iterdir()):
            return file.parent, cell
    numbers = itertools.count(1)
    new = next(p for n in numbers if not (p := Path(root) / f"check-{n}").exists())
    return new, random.choice(known)


def compare(
    experiment: Experiment,
    cell: Cell,
    runs: Mapping[str, Run],
    planned: Mapping[str, Run],
    content: Mapping[str, Any],
) -> Verdict:
    """Compares a finished run's numbers with the published ones.

    Args:
      experiment: which one.
      cell: which one.
      runs: the runs that were run again, by reference.
      planned: the experiment's runs without a directory, to look up the published numbers.
      content: of the published results.

    Raises:
      InputError: the run is not finished, or cannot be read.
    """
    run = runs[cell.reference]
    result = results.of_run(run)
    if result is None:
        raise InputError(f"--check: {run.reference} is not finished in {run.workdir}.")
    now, then = result.values(cell) or [], _published(cell, planned, content, experiment) or []
    error = math.sqrt(sum(float(np.var(v, ddof=1)) / len(v) for v in (now, then) if len(v) > 1))
    difference = float(np.mean(now) - np.mean(then))
    same = abs(difference) <= 2 * error + 1e-9
    digits = cell.digits
    texts = [
        f"{cell_text.number(float(np.mean(v)), digits)} ± {float(np.std(v, ddof=1)):z.{digits}f}"
        if len(v) > 1
        else cell_text.number(float(np.mean(v)), digits)
        for v in (then, now)
    ]
    word = "within" if same else "NOT within"
    return Verdict(
        f"{cell.name}, {cell.metric}: published {texts[0]} (n = {len(then)}), again {texts[1]} "
        f"(n = {len(now)}); the difference {cell_text.number(difference, digits, sign=True)} is "
        f"{word} two standard errors, {cell_text.number(2 * error, digits)}",
        same,
    )


def _published(
    cell: Cell, runs: Mapping[str, Run], content: Mapping[str, Any], experiment: Experiment
) -> list[float] | None:
    result = published.find(content, runs[cell.reference], experiment.published)
    return result.values(cell) if result else None
