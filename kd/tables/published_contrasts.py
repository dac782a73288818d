"""Contrasts in published results: the entry of a contrast's first run has its interval and p-value,
which its test images give and its seeds alone do not. Imports no jax.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kd.tables.contrast import Comparison, from_json, to_json
from kd.tables.plan import Run
from kd.tables.results import compare, of_run
from kd.tables.table import Cell, Contrast


def find(entry: Mapping[str, Any], contrast: Contrast, value: float) -> Comparison | None:
    """The published comparison of a contrast whose difference is `value`; None if there is none.

    Args:
      entry: of the contrast's first run.
      contrast: which one.
      value: the difference that is shown beside it.
    """
    contents = entry.get("contrasts", {})  # earlier files lack them
    return from_json(contents.get(_key(contrast)), value, contrast.bounds)


def add(
    entries: Mapping[str, dict[str, Any]],
    earlier: Mapping[str, Mapping[str, Any]],
    plan: Mapping[str, Run],
    contrasts: Sequence[Contrast],
) -> None:
    """Adds to each entry what its contrasts say beyond the numbers of the seeds.

    Args:
      entries: to publish, by reference.
      earlier: those that were published before.
      plan: the experiment's runs by reference.
      contrasts: of the experiment.
    """
    for contrast in contrasts:
        runs = [plan[cell.reference] for cell in contrast.of]
        entry = entries.get(runs[0].reference)
        if entry is None or any(run.reference not in entries for run in runs):
            continue  # also of a run that has finished since the entries were made
        name = _key(contrast)
        results = [result for run in runs if (result := of_run(run))]
        if len(results) == len(runs):
            content = to_json(compare(contrast, results))
        else:
            old, new = ([of[run.reference] for run in runs] for of in (earlier, entries))
            same = _numbers(contrast, old) == _numbers(contrast, new)
            content = old[0].get("contrasts", {}).get(name) if same else None
        if content:
            contents = entry.setdefault("contrasts", {})
            tests = contents.get(name, {}).get("tests", {}) | content.get("tests", {})
            contents[name] = content | ({"tests": tests} if tests else {})


def _numbers(contrast: Contrast, entries: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What the entries of a contrast's runs have of its cells."""
    values = (entry.get("values", {}) for entry in entries)
    return [its.get(key(cell)) for cell, its in zip(contrast.of, values, strict=True)]


def _key(contrast: Contrast) -> str:
    """The name of a contrast in the entry of its first cell's run."""
    cell, *others = contrast.of
    signs = ["minus" if w == -1 else f"plus {w!r} times" for w in contrast.weights[1:]]
    terms = [
        f"{sign} {key(other)} of {other.reference}"
        for sign, other in zip(signs, others, strict=True)
    ]
    return ", ".join([key(cell), *terms])


def key(cell: Cell) -> str:
    """The name of a cell's values in an entry."""
    return cell.metric if cell.select == "last" else f"{cell.metric}, {cell.select}"
