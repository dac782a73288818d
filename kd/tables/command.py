"""`kd table`: runs what is missing of a paper's table, and prints it beside the paper's numbers.
Imports no jax.
"""

import dataclasses
import fnmatch
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kd.errors import InputError
from kd.tables import document, forecast, layout, measure, plan, results, sheet
from kd.tables import experiment as experiments
from kd.tables import jobs as processes
from kd.tables.measure import Entry
from kd.tables.plan import Run
from kd.tables.table import Cell, Experiment


@dataclasses.dataclass(frozen=True)
class Options:
    """What `kd table` was asked for; see its help."""

    file: str
    print_only: bool = False
    only: str = ""
    jobs: int = 1
    dry_run: bool = False
    seeds: int | None = None
    runs: str = "runs"
    csv: bool = False
    out: str | None = None
    publish: bool = False
    into: str | None = None


def act(options: Options) -> int:
    """Does what the options say and returns the exit status: 1 where a run failed. Raises
    InputError.
    """
    for name, number in (("jobs", options.jobs), ("seeds", options.seeds)):
        if number is not None and number < 1:
            raise InputError(f"--{name}: expected 1 or more, got {number}.")
    if options.publish and options.seeds is not None:
        raise InputError(
            "--publish: what is published has the experiment's own seeds. Leave --seeds out."
        )
    experiment = experiments.load(options.file, options.seeds)
    published = results.read(experiment.published)
    if Path(options.runs).is_file():
        raise InputError(f"--runs {options.runs} is a file, expected a directory.")
    if options.into:
        _filled(options.into, experiment, "", {t.title: "" for t in experiment.tables})
    runs = plan.make(experiment, options.runs)
    cells = _chosen(experiment, options.only)
    todo = _todo(cells, runs)
    if options.dry_run:
        print("\n".join(forecast.lines(todo, runs, options.runs, published)))
        return 0
    failed: dict[str, str] = {}
    if not options.print_only and not options.publish:
        if todo:
            tell(f"{len(todo)} runs to do; see --dry_run for an estimate")
        failed = processes.run_all(todo, runs, options.jobs, options.runs, tell)
    if options.publish:
        there, size, lost = results.publish(experiment.published, runs, experiment.cells())
        tell(f"{experiment.published}: {there} of {size} cells")
        for reference in lost:
            tell(f"no longer part of the experiment, and left out: {reference}")
        published = results.read(experiment.published)
    entries, unread = gather(experiment, runs, published, strict=options.print_only)
    failed = {**unread, **failed}
    text = layout.markdown(experiment, entries, runs)
    print(sheet.text(experiment, entries, runs) if options.csv else text, end="")
    out = options.out or (None if options.print_only else options.runs)
    if out:
        _write(Path(out), experiment, entries, runs)
    whole = all(runs[c.reference].workdir.finished for c in experiment.cells())
    if options.publish and whole:  # else there would be fewer curves than before
        _draw(experiment.published.parent, experiment, entries, runs)
    if options.into:
        filled = _filled(options.into, experiment, text, _alone(experiment, entries))
        _replace(Path(options.into), filled)
    for reference, reason in failed.items():
        tell(f"FAILED {reference}: {reason}")
    return 1 if failed else 0


def tell(line: str) -> None:
    """A line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


def gather(
    experiment: Experiment, runs: Mapping[str, Run], published: Mapping, strict: bool = True
) -> tuple[list[list[Entry]], dict[str, str]]:
    """The numbers of each table: of finished runs, and else those published. What cannot be read is
    missing.

    Returns:
      the entries of each table, and by reference why a finished run could not be read.

    Raises:
      InputError: with `strict`, published results of another config, which else are told of, as are
        those of another teacher.
    """
    unread: dict[str, str] = {}
    stale: set[str] = set()

    def find(cell: Cell) -> results.Result | None:
        run = runs[cell.reference]
        try:
            if found := results.of_run(run):
                values = found.values(cell)
                return results.Result(found.facts, lambda _: values)
        except InputError as error:
            unread[run.reference] = str(error)
            return None
        try:
            return results.of_published(published, run, experiment.published)
        except InputError as error:
            if strict and not isinstance(error, results.OtherTeacher):
                raise
            if run.reference not in stale:
                stale.add(run.reference)
                tell(f"not shown: {error}")
            return None

    return [measure.measure(table, find) for table in experiment.tables], unread


def as_published(text: str, file: str) -> str:
    """The document with an experiment between its markers as its published results alone have it.
    Raises InputError.
    """
    experiment = experiments.load(file)
    published = results.read(experiment.published)
    runs = plan.make(experiment, os.devnull)
    entries, _ = gather(experiment, runs, published)
    whole = layout.markdown(experiment, entries, runs)
    return document.fill(text, experiment.name, whole, _alone(experiment, entries))


def _replace(file: Path, text: str) -> None:
    """Writes the file whole or not at all."""
    part = file.with_name(file.name + ".part")
    part.write_text(text)
    part.replace(file)


def _alone(experiment: Experiment, entries: Sequence[list[Entry]]) -> dict[str, str]:
    """Each table by its title."""
    tables = zip(experiment.tables, entries, strict=True)
    return {table.title: layout.alone(table, own) for table, own in tables}


def _filled(file: str, experiment: Experiment, whole: str, single: Mapping[str, str]) -> str:
    """The text of the file with the experiment in it. Raises InputError."""
    try:
        return document.fill(Path(file).read_text(), experiment.name, whole, single)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--into {file} cannot be read: {error}.") from error
    except InputError as error:
        raise InputError(f"--into {file}: {error}") from error


def _chosen(experiment: Experiment, pattern: str) -> list[Cell]:
    """Cells whose row, column or config the pattern finds: with `*` or `?` as a whole, else
    anywhere in it.
    """
    if not pattern:
        return experiment.cells()
    wild = pattern.lower() if re.search(r"[*?]", pattern) else f"*{pattern.lower()}*"
    found = [
        cell
        for cell in experiment.cells()
        if any(fnmatch.fnmatchcase(text.lower(), wild) for text in (cell.name, cell.reference))
    ]
    if not found:
        names = dict.fromkeys(cell.row for cell in experiment.cells())
        raise InputError(f"--only {pattern!r} finds no cell. Rows: {'; '.join(names)}.")
    return found


def _todo(cells: Iterable[Cell], runs: Mapping[str, Run]) -> list[Run]:
    """The runs that these cells lack, each once, what they need first."""
    order: dict[str, Run] = {}
    for cell in cells:
        if not runs[cell.reference].workdir.finished:
            order |= {r.reference: r for r in plan.steps(runs[cell.reference], runs)}
    return [run for run in order.values() if not run.workdir.finished]


def _write(
    out: Path, experiment: Experiment, entries: Sequence[list[Entry]], runs: Mapping[str, Run]
) -> None:
    """NAME.md, NAME.csv and figures, in the directory `out`."""
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        ".md": layout.markdown(experiment, entries, runs),
        ".csv": sheet.text(experiment, entries, runs),
    }
    for suffix, text in texts.items():
        (out / f"{experiment.name}{suffix}").write_text(text)
    drawn = _draw(out, experiment, entries, runs)
    files = [*(out / f"{experiment.name}{suffix}" for suffix in texts), *drawn]
    tell("written: " + ", ".join(map(str, files)))


def _draw(
    out: Path, experiment: Experiment, entries: Sequence[list[Entry]], runs: Mapping[str, Run]
) -> list[Path]:
    """NAME.png and what tables ask for beside it, in the directory `out`."""
    from kd.tables import figure

    drawn = figure.curves(experiment, runs, out / f"{experiment.name}.png")
    return drawn + figure.against(experiment, entries, out)
