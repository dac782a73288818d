"""Facts of runs and of metrics that a figure may have on its horizontal axis. Imports no jax by
itself.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from kd.config.teachers import recorded_weights
from kd.errors import unknown
from kd.tables import metric_call
from kd.tables.plan import Run

DATA = ("training_examples", "labelled_examples")
"""Facts that results of earlier versions lack, and that are counted again in the data."""


@dataclasses.dataclass(frozen=True)
class Fact:
    """A number of a run.

    Attributes:
      key: of the run's `result.json`, or of what `of_result` adds; a keyword of the metric where
        the fact is one of `OF_METRICS`.
      title: of the axis.
    """

    key: str
    title: str


FACTS = {
    "labelled": Fact("labelled_examples", "training images with a label"),
    "training": Fact("training_examples", "training images"),
    "examples": Fact("examples", "evaluated images"),
    "epochs": Fact("epochs", "epochs"),
    "steps": Fact("steps", "updates"),
    "seconds": Fact("seconds", "seconds of training"),
    "members": Fact("members", "members of the teacher"),
    "parameters": Fact("parameters", "parameters"),
    "bytes": Fact("bytes", "bytes"),
    "macs": Fact("macs", "multiply-accumulates (MACs)"),
    "radius": Fact("radius", "radius of the ball"),
}
"""What a table's `against` may be."""

OF_METRICS = ("radius",)
"""Facts of a cell's metric, such as `certified(radius=8)`."""


def check(name: str, where: str) -> None:
    """Raises InputError for a table's `against` that is no fact."""
    if name and name not in FACTS:
        raise unknown(f"fact in `against` of {where}", name, FACTS)


def of_result(result: Mapping[str, Any]) -> dict[str, int]:
    """What follows from a `result.json` without being a key of it."""
    teacher = result.get("teacher") or {}
    trained = teacher.get("groups") or "members" in teacher  # others follow their students
    return {"members": len(recorded_weights(teacher)) if trained else 0}


def value(name: str, facts: Mapping[str, Any], run: Run, metric: str) -> float | None:
    """A fact of a run or of a metric; None if it is not known.

    Args:
      name: a key of `FACTS`.
      facts: of the run, as stored or published.
      run: of the plan. Where the facts lack the number of images, they are counted in its data.
      metric: of the cell.
    """
    key = FACTS[name].key
    if name in OF_METRICS:
        return getattr(metric_call.parse(metric), key) or None
    number = facts.get(key)
    if number is None and key in DATA:
        from kd.runs import data_counts  # jax, for results of earlier versions only

        counted = (
            data_counts.of_finished(run.workdir)
            if run.workdir.finished
            else data_counts.of_published(run.config, facts)
        )
        number = counted.get(key)
    usable = isinstance(number, int | float) and math.isfinite(number)
    return number if usable else None
