"""Joins published results of several machines. Imports no jax."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd.errors import InputError
from kd.tables import published
from kd.tables.plan import Run

REMEDY = "Publish both from one commit, or say --mixed_commits."


def merge(
    path: Path, plan: Mapping[str, Run], files: Sequence[str], mixed_commits: bool = False
) -> published.Publication:
    """Writes the runs of several published files, and of the one that is there, into that one.

    Args:
      path: of the experiment's published results, which may not exist.
      plan: the experiment's runs by reference.
      files: published results of the same experiment, by `kd table --publish` elsewhere.
      mixed_commits: allow runs of different commits of the code.

    Returns:
      what the file has now.

    Raises:
      InputError: and nothing is written. A file is missing or damaged, has a run of another config
        or no run; two files have different numbers or weights of one run; a student is of another
        teacher than the one that is shown; commits differ; or results of another config, which the
        file at `path` has, would be lost.
    """
    entries: dict[str, dict[str, Any]] = {}
    places: dict[str, Path] = {}
    for file, required in [(path, False), *((Path(file), True) for file in files)]:
        for reference, entry in _known(file, plan, required).items():
            if reference in entries:
                _check_same(reference, entries[reference], entry, places[reference], file)
                entries[reference] = _joined(entries[reference], entry)
            else:
                entries[reference], places[reference] = entry, file
    removed = _removed(path, entries, plan)
    _check_teachers(entries, places, plan)
    if not mixed_commits:
        _check_commits(entries, places)
    published.write(path, entries)
    cells = [cell for run in _distinct(plan) for cell in run.cells]
    values = {reference: entry["values"] for reference, entry in entries.items()}
    shown = sum(
        published.key(cell) in values.get(plan[cell.reference].reference, {}) for cell in cells
    )
    return published.Publication(shown, len(cells), removed)


def _known(file: Path, plan: Mapping[str, Run], required: bool) -> dict[str, dict[str, Any]]:
    """The entries of a file by the references of the plan."""
    if required and not file.exists():
        raise InputError(f"--merge: there is no file {file}.")
    runs = {run.identity: run.reference for run in _distinct(plan)}
    entries = published.read(file).get("runs", {})
    if required and not entries:
        raise InputError(f"--merge: {file} has no results. Leave it out, or publish it again.")
    for reference, entry in entries.items():
        if required and entry["identity"] not in runs:
            raise InputError(
                f"--merge: {file} has {reference} by a config (hash {entry['identity']}) that the "
                "experiment here does not have. Both machines need the same experiment and configs."
            )
    return {runs[e["identity"]]: e for e in entries.values() if e["identity"] in runs}


def _check_same(
    reference: str, one: Mapping[str, Any], other: Mapping[str, Any], first: Path, second: Path
) -> None:
    """Raises InputError if two results of a run differ in a number, or are of other weights."""
    weights = [entry["weights"] for entry in (one, other) if entry.get("weights")]
    if len(set(weights)) > 1:
        raise InputError(
            f"--merge: {first} and {second} both have {reference}, with different weights: it was "
            "trained twice. Leave one of them out: publish it from one machine only."
        )
    shared = one["values"].keys() & other["values"].keys()
    if different := [key for key in sorted(shared) if one["values"][key] != other["values"][key]]:
        raise InputError(
            f"--merge: {first} and {second} both have {reference}, with different numbers of "
            f"{different[0]}. Leave one of them out: publish it from one machine only."
        )


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """All that two results of a run say: the numbers and contrasts of both."""
    joined = {**other, **{key: fact for key, fact in one.items() if fact is not None}}
    joined["values"] = {**other["values"], **one["values"]}
    ours, theirs = one.get("contrasts", {}), other.get("contrasts", {})
    contrasts = {**theirs, **ours}
    for key in ours.keys() & theirs.keys():
        if ours[key].get("few_seeds") != theirs[key].get("few_seeds"):  # one is of an earlier kd
            contrasts[key] = max(ours[key], theirs[key], key=lambda x: x.get("few_seeds", ""))
        elif tests := theirs[key].get("tests", {}) | ours[key].get("tests", {}):
            contrasts[key] = ours[key] | {"tests": tests}  # tested against the numbers of both
    return joined | ({"contrasts": contrasts} if contrasts else {})


def _removed(path: Path, entries: Mapping[str, Any], plan: Mapping[str, Run]) -> list[str]:
    """References of the runs in the file at `path` that are no longer part of the experiment.

    Raises:
      InputError: results of a run of the experiment, by another config, would be lost.
    """
    identities = {run.identity for run in plan.values()}
    old = published.read(path).get("runs", {})
    gone = [reference for reference, e in old.items() if e["identity"] not in identities]
    for reference in gone:
        if reference in plan and plan[reference].reference not in entries:
            raise InputError(
                f"--merge: {path} has results of {reference} by another config (hash "
                f"{old[reference]['identity']}, now {plan[reference].identity}), and they would be "
                "lost. Merge those of the new config, too, or restore the config."
            )
    return [reference for reference in gone if reference not in plan]


def _check_teachers(
    entries: Mapping[str, Mapping[str, Any]], places: Mapping[str, Path], plan: Mapping[str, Run]
) -> None:
    """Raises InputError if a run was trained from other weights than the run that is shown."""
    shown = {str(run.workdir): run.reference for run in _distinct(plan)}
    for reference, entry in entries.items():
        run = plan[reference]
        sources = {f"teacher {i}": workdir for i, workdir in run.teachers.items()}
        sources |= {"init": run.init} if run.init is not None else {}
        for name, workdir in sources.items():
            teacher = shown.get(str(workdir), "")
            then = (entry.get("trained_from") or {}).get(name)
            now = entries.get(teacher, {}).get("weights")
            if then and now and then != now:
                raise InputError(
                    f"--merge: {reference} in {places[reference]} was trained from another "
                    f"{teacher} than the one in {places[teacher]}: the table would mix the two. "
                    "Copy the teacher's run to the other machine, and train the student there."
                )


def _check_commits(entries: Mapping[str, Mapping[str, Any]], places: Mapping[str, Path]) -> None:
    """Raises InputError if results of different files are of different commits."""
    seen: dict[str, str] = {}
    for reference, entry in entries.items():
        commit = entry.get("git_commit") or "an unknown commit"
        for earlier, its_commit in seen.items():
            if commit != its_commit and places[earlier] != places[reference]:
                raise InputError(
                    f"--merge: {earlier} in {places[earlier]} is of commit {its_commit[:10]}, and "
                    f"{reference} in {places[reference]} of {commit[:10]}. {REMEDY}"
                )
        seen[reference] = commit


def _distinct(plan: Mapping[str, Run]) -> list[Run]:
    return [*{run.reference: run for run in plan.values()}.values()]
