"""Published results: `results/NAME.json` next to the experiment `NAME.py`. Imports no jax.

Only `kd table --publish` writes such a file. It holds a checksum of its content and the identity of
each run's configs, so that a table never shows an edited number or that of another config.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd import __version__
from kd.errors import InputError
from kd.files.parsers import parse_json
from kd.files.writing import refusals, replacing
from kd.runs import lineage
from kd.runs.workdir import Workdir
from kd.tables import published_contrasts
from kd.tables.plan import Run
from kd.tables.published_contrasts import key
from kd.tables.results import Result, of_run
from kd.tables.table import Cell, Contrast

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
    "steps",
    "members",
    "training_examples",
    "labelled_examples",
)
"""Facts of a run that are published with its numbers. Earlier files lack the last ones."""


class OtherTeacher(InputError):
    """The teacher of a published student has been trained again since."""


@dataclasses.dataclass(frozen=True)
class Publication:
    """What `publish` has written.

    Attributes:
      cells: how many cells of the experiment have a published number.
      total: how many cells the experiment has.
      removed: references of runs that were published and are no longer part of the experiment.
    """

    cells: int
    total: int
    removed: list[str]


def read(path: Path) -> dict[str, Any]:
    """Content of a published file, {} if there is none.

    Raises:
      InputError: the file cannot be read, is damaged or was edited.
    """
    if not path.exists():
        return {}
    try:
        content = parse_json(path.read_bytes())
        checksum = content.pop("checksum")
    except OSError as error:
        what = "Expected a file of kd table --publish."
        raise InputError(f"{path} cannot be read: {error.strerror}. {what}") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}): restore it, or remove it and publish "
            "again."
        ) from error
    if checksum != checksum_of(content):
        raise InputError(
            f"{path} was edited by hand: its checksum does not match. Restore it, or remove it and "
            "publish again."
        )
    return content


def find(content: Mapping[str, Any], run: Run, path: Path) -> Result | None:
    """The published result of a run, None if there is none.

    Args:
      content: from `read`.
      run: of the plan.
      path: where the content is from, for messages.

    Raises:
      InputError: the result is of another config.
      OtherTeacher: the run's teacher has been trained again since.
    """
    entry = _entry(content, run)
    if entry is None:
        return None
    if entry["identity"] != run.identity:
        raise InputError(
            f"{path}: {run.reference} was published for another config (hash {entry['identity']}, "
            f"now {run.identity}). Run it again and publish, or restore the config."
        )
    if changed := _changed_source(entry, run):
        raise OtherTeacher(
            f"{path}: the published {run.reference} was trained from other weights than those that "
            f"are now in {changed}. Run it again and publish, or restore the earlier run."
        )
    return Result(
        entry,
        lambda cell: entry["values"].get(key(cell)),
        compared=lambda contrast, value: published_contrasts.find(entry, contrast, value),
    )


def with_contrasts(result: Result, content: Mapping[str, Any], run: Run) -> Result:
    """The result of a finished run that also knows the published contrasts of this run."""
    entry = _entry(content, run)
    if entry is None or entry["identity"] != run.identity:
        return result
    return dataclasses.replace(
        result,
        compared=lambda contrast, value: published_contrasts.find(entry, contrast, value),
    )


def publish(
    path: Path, plan: Mapping[str, Run], cells: Sequence[Cell], contrasts: Sequence[Contrast] = ()
) -> Publication:
    """Writes the numbers of all cells whose runs are finished.

    Numbers that were published before are kept if their run is not in the run directory, and a
    contrast that was is kept if not all of its runs are there, and all of its numbers are the same.

    Raises:
      InputError: and nothing is written. The existing file was edited; no run is finished; results
        of another config would be lost; or students would be mixed with another teacher.
    """
    before = read(path)
    entries: dict[str, dict[str, Any]] = {}
    kept: dict[str, Run] = {}
    for cell in cells:
        run = plan[cell.reference]
        if result := of_run(run):
            entry = entries.setdefault(run.reference, _new_entry(run, result))
            entry["values"][key(cell)] = result.values(cell)
        elif entry := _kept_entry(before, run, path):
            entries[run.reference] = entry
            kept[run.reference] = run
    if not entries:
        raise InputError("nothing to publish: none of the experiment's runs is finished.")
    for reference, run in kept.items():
        changed = _changed_source(entries[reference], run)
        if changed := changed or _changed_teacher(run, plan, before, entries):
            raise InputError(
                f"{path} has results of {reference}, which was trained from another run than that "
                f"which is now in {changed}, and {reference} is not finished in the run directory: "
                "the table would mix the two. Finish it first, or restore the earlier run."
            )
    earlier = {run.reference: _entry(before, run) or {} for run in plan.values()}
    published_contrasts.add(entries, earlier, plan, contrasts)
    write(path, entries)
    keys = [(plan[cell.reference].reference, key(cell)) for cell in cells]
    count = sum(name in entries.get(ref, {}).get("values", {}) for ref, name in keys)
    identities = {e["identity"] for e in entries.values()}
    removed = [
        reference
        for reference, entry in before.get("runs", {}).items()
        if reference not in entries and entry["identity"] not in identities
    ]
    return Publication(count, len(keys), removed)


def checksum_of(content: Mapping[str, Any]) -> str:
    """sha256 of the content as JSON with sorted keys."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the file completely or not at all."""
    content = {
        "written_by": f"kd table --publish, version {__version__}",
        "runs": dict(sorted(entries.items())),
    }
    content = {**content, "checksum": checksum_of(content)}
    with refusals(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def _new_entry(run: Run, result: Result) -> dict[str, Any]:
    """What is published of a finished run, as yet without values."""
    return {
        "identity": run.identity,
        **{key: result.facts.get(key) for key in FACTS},
        "trained_from": lineage.recorded(result.facts, run.teachers, run.init is not None),
        "values": {},
    }


def _kept_entry(before: Mapping[str, Any], run: Run, path: Path) -> dict[str, Any] | None:
    """What was published before of a run that is not finished.

    Raises:
      InputError: it is of another config.
    """
    entry = _entry(before, run)
    if entry and entry["identity"] != run.identity:
        raise InputError(
            f"{path} has results of {run.reference} by another config (hash {entry['identity']}, "
            f"now {run.identity}), and that run is not finished in the run directory: they would "
            "be lost. Finish it first, or restore the config."
        )
    return entry


def _entry(content: Mapping[str, Any], run: Run) -> dict[str, Any] | None:
    """The entry of a run: that with its identity, under any name; otherwise that with its name."""
    entries = content.get("runs", {})
    same = (entry for entry in entries.values() if entry["identity"] == run.identity)
    return next(same, entries.get(run.reference))


def _changed_source(entry: Mapping[str, Any], run: Run) -> Workdir | None:
    """The first run that the published one was trained from and that has other weights now."""
    sources = lineage.sources(run.teachers, run.init)
    return lineage.changed(entry.get("trained_from", {}), sources)


def _changed_teacher(
    run: Run,
    plan: Mapping[str, Run],
    before: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
) -> Workdir | None:
    """The first teacher whose numbers differ from those published before.

    For results that were published before weights were recorded; see `_changed_source`.
    """
    if "trained_from" in entries[run.reference]:
        return None
    sources = [str(workdir) for workdir in lineage.sources(run.teachers, run.init).values()]
    for teacher in {r.identity: r for r in plan.values()}.values():
        old, new = _entry(before, teacher), entries.get(teacher.reference)
        if str(teacher.workdir) not in sources or old is None or new is None:
            continue
        shared = old["values"].keys() & new["values"].keys()
        if any(old["values"][key] != new["values"][key] for key in shared):
            return teacher.workdir
    return None
