"""Results of a table's runs: read from the runs, or from the small file in which they are
published. Imports no jax.

A published file, `experiments/results/NAME.json`, is written by `kd table --publish` alone: a
checksum over its content and the identity of each run's configs stand in it, so that a table never
shows an edited number or that of another config.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kd import __version__
from kd.config.teachers import recorded, recorded_weights
from kd.errors import InputError
from kd.metrics import scores
from kd.runs import lineage
from kd.runs.workdir import Workdir
from kd.tables import derived
from kd.tables.plan import Run
from kd.tables.table import Cell
from kd.teachers.reduction import reference_logits

FACTS = (
    "config_hash",
    "seeds",
    "split",
    "examples",
    "epochs",
    "seconds",
    "hardware",
    "git_commit",
    "jax_version",
    "weights",
    "parameters",
    "bytes",
    "macs",
)
"""What of a run's `result.json` is published beside its numbers."""


class OtherTeacher(InputError):
    """A published result of a student whose teacher was trained anew since."""


@dataclasses.dataclass(frozen=True)
class Result:
    """Facts of a finished run, and its numbers: `values(cell)` has one for each seed, or is None
    where not known.
    """

    facts: Mapping[str, Any]
    values: Callable[[Cell], list[float] | None]


def of_run(run: Run) -> Result | None:
    """The result of a run that is finished. It and `values` raise InputError where files are
    damaged, lack the metric, or are of a student whose teacher was trained anew since.
    """
    if not run.workdir.finished:
        return None
    lineage.check(run.workdir, run.taught, run.first)
    result = run.workdir.read("result.json")

    def values(cell: Cell) -> list[float]:
        try:
            return _values(run, result, cell)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{run.workdir}/result.json is damaged: {error!r}. Remove it, and the run ends "
                "anew from its last state."
            ) from error

    return Result(result, values)


def _values(run: Run, result: Mapping[str, Any], cell: Cell) -> list[float]:
    metric, peers = derived.parse(cell.metric), len(result.get("peers", [1]))
    if cell.select == "best_test":
        if "best_test" not in result:
            raise InputError(f"{run.workdir} was not evaluated on the test set.")
        best = [100 * v for v in result["best_test"]["accuracy"]]
        return derived.per_seed(best, peers)
    if metric.name == "teacher_accuracy":
        return _of_teacher(run, result)
    if metric.name == "exported_bytes":
        if "exported" not in result:
            raise InputError(f"{run.workdir} exported nothing: set config.export.")
        return [float(n) for n in result["exported"]["bytes"]]
    if metric.name in derived.OF_RESULT:
        if metric.name not in result["final"]:
            raise InputError(
                f"{run.workdir} has no {metric.name}: that of a run without a teacher is not "
                "defined."
            )
        scale = 100 if metric.name == "agreement" else 1
        final = [scale * v for v in result["final"][metric.name]]
        return derived.per_seed(final, peers)
    try:
        return derived.evaluate(metric, run.workdir.predictions())
    except InputError as error:
        raise InputError(f"row {cell.row!r}, {run.workdir}: {error}") from error


def _of_teacher(run: Run, result: Mapping[str, Any]) -> list[float]:
    """Accuracy in % of what taught: of the members together, or of each where student i had member
    i or its own mean.
    """
    stored = run.workdir.predictions()
    logits = stored.get("teacher_logits")
    if logits is None:
        groups = recorded(result["teacher"])
        if not groups:
            raise InputError(f"{run.workdir} had no teacher that has an accuracy.")
        found = [Workdir(g.run).predictions()["logits"][np.asarray(g.members)] for g in groups]
        weights = recorded_weights(result["teacher"])
        section = run.config.teacher
        paired = section.members == "paired"
        logits = reference_logits(np.concatenate(found), weights, section.reduce, paired)
        logits = logits if logits.ndim == 3 else logits[None]
    return [100 * float(v) for v in scores.accuracy(logits, stored["label"])]


def read(path: Path) -> dict[str, Any]:
    """Content of a published file, {} where there is none. Raises InputError where it is damaged or
    was edited.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        claimed = content.pop("checksum")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}): restore it, or remove it and publish "
            "again."
        ) from error
    if claimed != _checksum(content):
        raise InputError(
            f"{path} was edited by hand: its checksum does not fit. Restore it, or remove it and "
            "publish again."
        )
    return content


def of_published(content: Mapping[str, Any], run: Run, path: Path) -> Result | None:
    """The published result of a run. Raises InputError where it belongs to another config,
    OtherTeacher where its teacher is not the one that stands there now.
    """
    entry = _entry(content, run)
    if entry is None:
        return None
    if entry["identity"] != run.identity:
        raise InputError(
            f"{path}: {run.reference} was published for another config (hash {entry['identity']}, "
            f"now {run.identity}). Run it again and publish, or restore the config."
        )
    if there := _source_changed(entry, run):
        raise OtherTeacher(
            f"{path}: what is published of {run.reference} was trained from other weights than "
            f"those now in {there}. Run it again and publish, or bring the earlier run back."
        )
    return Result(entry, lambda cell: entry["values"].get(_key(cell)))


def _source_changed(entry: Mapping[str, Any], run: Run) -> Workdir | None:
    """Where another run stands now than that from which a published one was trained."""
    places = lineage.sources(run.taught, run.first)
    return lineage.changed(entry.get("trained_from", {}), places)


def _entry(content: Mapping[str, Any], run: Run) -> dict[str, Any] | None:
    """What is published of a run, under whatever name of it; else what is published under its
    name.
    """
    there = content.get("runs", {})
    same = (e for e in there.values() if e["identity"] == run.identity)
    return next(same, there.get(run.reference))


def publish(
    path: Path, plan: Mapping[str, Run], cells: Sequence[Cell]
) -> tuple[int, int, list[str]]:
    """Writes the numbers of all cells whose runs are finished; those published before stay where
    the run is not here.

    Returns:
      how many of how many cells are now published, and the runs that were and are no longer part of
      the experiment.

    Raises:
      InputError: nothing is written. The file there was edited; no run is finished; results of a
        run whose config has changed since would be lost; or those of a student would stand beside
        another teacher than its own.
    """
    before = read(path)
    entries: dict[str, dict[str, Any]] = {}
    kept: dict[str, Run] = {}
    for cell in cells:
        run = plan[cell.reference]
        result = of_run(run)
        if result is None:
            entry = _entry(before, run)
            if entry and entry["identity"] == run.identity:
                entries[run.reference] = entry
                kept[run.reference] = run
            elif entry:
                raise InputError(
                    f"{path} has results of {run.reference} by another config (hash "
                    f"{entry['identity']}, now {run.identity}), and that run is not finished here: "
                    "they would be lost. Finish it first, or restore the config."
                )
            continue
        entry = entries.setdefault(
            run.reference,
            {
                "identity": run.identity,
                **{k: result.facts.get(k) for k in FACTS},
                "trained_from": lineage.recorded(result.facts, run.taught, run.first is not None),
                "values": {},
            },
        )
        entry["values"][_key(cell)] = result.values(cell)
    if not entries:
        raise InputError("nothing to publish: none of the experiment's runs is finished here.")
    for reference, run in kept.items():
        there = _source_changed(entries[reference], run)
        if there := there or _taught_anew(run, plan, before, entries):
            raise InputError(
                f"{path} has results of {reference}, which were trained from another run than that "
                f"in {there} now, and {reference} is not finished here: the table would mix the "
                "two. Finish it first, or bring the earlier run back."
            )
    known = {entry["identity"] for entry in entries.values()}
    lost = [
        reference
        for reference, entry in before.get("runs", {}).items()
        if reference not in entries and entry["identity"] not in known
    ]
    content = {
        "written_by": f"kd table --publish, version {__version__}",
        "runs": dict(sorted(entries.items())),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    whole = {**content, "checksum": _checksum(content)}
    temporary.write_text(json.dumps(whole, indent=1) + "\n")
    temporary.replace(path)
    keys = [(plan[c.reference].reference, _key(c)) for c in cells]
    there = sum(k in entries.get(r, {}).get("values", {}) for r, k in keys)
    return there, len(keys), lost


def _taught_anew(
    run: Run,
    plan: Mapping[str, Run],
    before: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
) -> Workdir | None:
    """The place of a teacher whose numbers are not those published before: for what was published
    before weights were recorded.
    """
    if "trained_from" in entries[run.reference]:
        return None
    places = [str(p) for p in lineage.sources(run.taught, run.first).values()]
    for teacher in {r.identity: r for r in plan.values()}.values():
        old, new = _entry(before, teacher), entries.get(teacher.reference)
        if str(teacher.workdir) not in places or old is None or new is None:
            continue
        shared = old["values"].keys() & new["values"].keys()
        if any(old["values"][key] != new["values"][key] for key in shared):
            return teacher.workdir
    return None


def _key(cell: Cell) -> str:
    return cell.metric if cell.select == "last" else f"{cell.metric}, {cell.select}"


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
