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
        or none of this experiment; two files have different numbers of one run; a student is of
        another teacher than the one that is shown; or commits differ.
    """
    entries: dict[str, dict[str, Any]] = {}
    places: dict[str, Path] = {}
    for file in [path, *map(Path, files)]:
        for reference, entry in _known(file, plan, required=file != path).items():
            if reference in entries:
                _check_same(reference, entries[reference], entry, places[reference], file)
            else:
                entries[reference], places[reference] = entry, file
    _check_teachers(entries, places, plan)
    if not mixed_commits:
        _check_commits(entries, places)
    published.write(path, entries)
    cells = [cell for run in _distinct(plan) for cell in run.cells]
    values = {reference: entry["values"] for reference, entry in entries.items()}
    shown = sum(
        published.key(cell) in values.get(plan[cell.reference].reference, {}) for cell in cells
    )
    return published.Publication(shown, len(cells), [])


def _known(file: Path, plan: Mapping[str, Run], required: bool) -> dict[str, dict[str, Any]]:
    """The entries of a file by the references of the plan."""
    if required and not file.exists():
        raise InputError(f"--merge: there is no file {file}.")
    runs = {run.identity: run.reference for run in _distinct(plan)}
    entries = published.read(file).get("runs", {})
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
    """Raises InputError if two results of a run differ in a number."""
    shared = one["values"].keys() & other["values"].keys()
    if different := [key for key in sorted(shared) if one["values"][key] != other["values"][key]]:
        raise InputError(
            f"--merge: {first} and {second} both have {reference}, with different numbers of "
            f"{different[0]}. Leave one of them out: publish it from one machine only."
        )


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
