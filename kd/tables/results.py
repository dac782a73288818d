"""Results of finished runs, as tables show them. Imports no jax. `published` has published ones."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kd.errors import InputError
from kd.runs import costs, lineage
from kd.tables import facts
from kd.tables.contrast import Comparison, Scores, comparison_of
from kd.tables.evaluate import evaluate, evaluate_scores
from kd.tables.metric import PerNetwork, PerRun, StoredRun
from kd.tables.metric_call import MetricCall, parse
from kd.tables.plan import Run
from kd.tables.table import Cell, Contrast


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
      facts: what is known of the run, such as `seconds` and `hardware`.
      values: returns a cell's number for each seed, or None if it is not known.
      scores: returns a cell's scores on each example, or None.
      compared: returns the published comparison of a contrast whose difference is given, or None.
    """

    facts: Mapping[str, Any]
    values: Callable[[Cell], list[float] | None]
    scores: Callable[[Cell], Scores | None] = lambda cell: None
    compared: Callable[[Contrast, float], Comparison | None] = lambda contrast, value: None


def compare(contrast: Contrast, results: Sequence[Result]) -> Comparison:
    """The comparison of a contrast's cells, one result for each."""
    pairs = [*zip(results, contrast.of, strict=True)]
    values = [result.values(cell) or [] for result, cell in pairs]
    return comparison_of(contrast, values, [result.scores(cell) for result, cell in pairs])


def of_run(run: Run) -> Result | None:
    """The result of a run, None if it is not finished.

    Raises:
      InputError: here or in `values`: files are damaged, the run lacks the metric, or its teacher
        has been trained again since.
    """
    if not run.workdir.finished:
        return None
    lineage.check(run.workdir, run.teachers, run.init)
    stored = StoredRun(run.workdir, run.config, run.workdir.read("result.json"))

    def values(cell: Cell) -> list[float]:
        try:
            return _values(stored, cell)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{run.workdir}/result.json is damaged: {error!r}. Remove it; the run then writes "
                "it again from its last checkpoint."
            ) from error

    def scores(cell: Cell) -> Scores | None:
        call = parse(cell.metric)
        if cell.select == "best_test":
            return None
        if isinstance(call.metric, PerNetwork):
            return evaluate_scores(call, stored.workdir.predictions())
        return _scores(stored, call)

    known = {**stored.result, **_costs(stored), **facts.of_result(stored.result)}
    return Result(known, values, scores)


def _costs(stored: StoredRun) -> dict[str, int]:
    """Costs of a cohort as its numbers are shown, means over its peers; none of other students."""
    return costs.of_student(stored.result) if "peers" in stored.result else {}


def _scores(stored: StoredRun, call: MetricCall) -> Scores | None:
    """A `PerRun` metric of each seed on each example, None if it has none."""
    metric = call.metric
    if not isinstance(metric, PerRun) or metric.scores is None:
        return None
    values = metric.scores(stored, **_keywords(metric, call))
    return None if values is None else Scores(values, stored.workdir.predictions()["label"])


def _keywords(metric: PerRun, call: MetricCall) -> dict[str, Any]:
    return {key: getattr(call, key) for key in metric.keywords}


def _values(stored: StoredRun, cell: Cell) -> list[float]:
    """A cell's number for each seed."""
    call = parse(cell.metric)
    if cell.select == "best_test":
        if "best_test" not in stored.result:
            raise InputError(f"{stored.workdir} was not evaluated on the test set.")
        accuracy = [100 * v for v in stored.result["best_test"]["accuracy"]]
        return stored.per_seed(accuracy)
    if isinstance(call.metric, PerRun):
        return call.metric.compute(stored, **_keywords(call.metric, call))
    if call.exported and "exported" in stored.result:
        stored.exported()
    try:
        return evaluate(call, stored.workdir.predictions())
    except InputError as error:
        raise InputError(f"row {cell.row!r}, {stored.workdir}: {error}") from error
