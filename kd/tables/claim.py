"""The `claim` of an experiment file: a sentence of a paper, and the contrasts that would show it.

    claim=dict(
        sentence="Soft targets let a student learn from 3 % of the images.",
        paper="Hinton, Vinyals, Dean 2015, section 6, table 5",
        on="MNIST, dense networks of two layers of 200",
        hypotheses={
            "soft targets are better than labels": dict(
                of="soft targets", minus="labels", expected="greater"
            ),
        },
    )

`of` and `minus` name cells of the tables as `row` or `row, column`, or `table: row, column` where
several tables have such a cell. `minus` may be a dict of names and weights of sum one, such as
{"generation 1": 2, "generation 0": -1}. `expected` is "greater" or "less" than the number `than`
(default 0). `size` says how far beyond it the claim is at least, where it says so. Imports no jax.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kd.errors import InputError, unknown
from kd.tables.table import Cell, Claim, Contrast, Hypothesis, Table

SIGNS = {"greater": 1, "less": -1}
"""What a hypothesis may expect."""

TEXTS = ("sentence", "paper", "on")
HYPOTHESIS = ("of", "minus", "expected", "than", "size")
"""Keys of a claim, beside `hypotheses`, and of a hypothesis."""


def parse(content: Mapping[str, Any], tables: Sequence[Table]) -> Claim | None:
    """The claim of an experiment; None if it has none.

    Args:
      content: `claim` of the file.
      tables: of the experiment.

    Raises:
      InputError: a key is unknown, missing or of a wrong type; or a cell is not there.
    """
    if not content:
        return None
    _check_keys(content, (*TEXTS, "hypotheses"), "the claim")
    for key in TEXTS:
        text = content.get(key)
        if not (isinstance(text, str) and text.strip()):
            raise InputError(f"claim: {key} = {text!r}, expected a text.")
    hypotheses = content.get("hypotheses")
    if not (isinstance(hypotheses, Mapping) and hypotheses):
        raise InputError(f"claim: hypotheses = {hypotheses!r}, expected a dict with one or more.")
    parsed = tuple(_hypothesis(name, keys, tables) for name, keys in hypotheses.items())
    return Claim(content["sentence"], content["paper"], content["on"], parsed)


def _hypothesis(name: Any, keys: Any, tables: Sequence[Table]) -> Hypothesis:
    where = f"hypothesis {name!r}"
    if not isinstance(name, str):
        raise InputError(f"{where}: expected a sentence as its name.")
    _check_keys(keys, HYPOTHESIS, where)
    expected = keys.get("expected")
    if not (isinstance(expected, str) and expected in SIGNS):
        raise InputError(f"{where}: {unknown('value of expected', str(expected), SIGNS)}")
    than = _number(keys.get("than", 0.0), f"{where}: than")
    size = keys.get("size")
    size = None if size is None else _number(size, f"{where}: size")
    if size is not None and size <= 0:
        raise InputError(f"{where}: size = {size:zg}, expected a number above 0.")
    minus = keys.get("minus")
    if not isinstance(minus, Mapping):
        minus = {str(minus): 1.0}
    weights = [_number(w, f"{where}: the weight of {cell!r}") for cell, w in minus.items()]
    if not math.isclose(sum(weights), 1.0):
        raise InputError(
            f"{where}: the weights in minus have the sum {sum(weights):zg}, expected 1, so that it "
            "is a difference."
        )
    cells = tuple(_find(cell, tables, where) for cell in (keys.get("of"), *minus))
    if len(units := dict.fromkeys(cell.unit for cell in cells)) > 1:
        raise InputError(f"{where}: cells in {' and '.join(units)}, expected one unit.")
    hypothesis = Hypothesis(_contrast(name, cells, weights), SIGNS[expected], than, size)
    reach = [] if hypothesis.reach is None else [hypothesis.reach]
    contrast = _contrast(name, cells, weights, (than, *reach))
    return Hypothesis(contrast, hypothesis.sign, than, size)


def _contrast(
    name: str, cells: tuple[Cell, ...], weights: Sequence[float], bounds: tuple[float, ...] = ()
) -> Contrast:
    signed = (1.0, *(-w for w in weights))
    digits, unit = cells[0].digits, cells[0].unit
    return Contrast(name, "", cells, digits=digits, unit=unit, weights=signed, bounds=bounds)


def _find(name: Any, tables: Sequence[Table], where: str) -> Cell:
    """The cell of a name. Raises InputError if there is none, or several."""
    cells: dict[str, list[Cell]] = {}
    for table in tables:
        for cell in table.entries():
            if isinstance(cell, Cell):
                cells.setdefault(cell.name, []).append(cell)
                cells.setdefault(f"{table.title}: {cell.name}", []).append(cell)
    if not (isinstance(name, str) and name in cells):
        raise unknown(f"cell of {where}", str(name), cells)
    if len(cells[name]) > 1:
        raise InputError(
            f"{where}: {len(cells[name])} tables have a cell {name!r}. Name the table, too, as in "
            f"'{tables[0].title}: {name}'."
        )
    return cells[name][0]


def _number(value: Any, what: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise InputError(f"{what} = {value!r}, expected a number.")
    return float(value)


def _check_keys(keys: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(keys, Mapping):
        raise InputError(f"{where}: expected a dict, got {keys!r}.")
    for key in keys:
        if key not in known:
            raise unknown(f"key of {where}", str(key), known)
