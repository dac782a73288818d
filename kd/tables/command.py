"""`kd table`: runs what an experiment lacks and prints its tables. Imports no jax."""

import dataclasses
import fnmatch
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from etils import epath

from kd import engines
from kd.config import find
from kd.engines import each
from kd.errors import InputError
from kd.files.escaping import message
from kd.files.writing import refusals, replacing
from kd.tables import (
    document,
    forecast,
    jobs,
    layout,
    merge,
    overview,
    plan,
    published,
    recheck,
    sheet,
)
from kd.tables.experiment import load
from kd.tables.gather import Numbers, gather, single_tables
from kd.tables.plan import Run
from kd.tables.table import Cell, Experiment
from kd.values import counted


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of `kd table`; `kd.cli.table` describes them."""

    file: str
    print_only: bool = False
    only: str = ""
    jobs: int | None = None
    dry_run: bool = False
    seeds: int | None = None
    runs: str = "runs"
    csv: bool = False
    out: str | None = None
    publish: bool = False
    into: str | None = None
    trust: Sequence[str] = ()
    on: str = "local"
    each: str = ""
    address: str | None = None
    header: str | None = None
    retries: int = engines.RETRIES
    shared: bool = False
    check: bool = False
    merge: Sequence[str] = ()
    mixed_commits: bool = False

    @property
    def settings(self) -> engines.Settings:
        """The options for an engine. Raises InputError for a malformed `--each`."""
        limit = 1 if self.on == "local" else None
        return engines.Settings(
            root=self.runs,
            each=each.parse(self.each),
            jobs=self.jobs or limit,
            retries=self.retries,
            address=self.address,
            header=self.header,
            shared=self.shared,
        )


def act(options: Options) -> int:
    """Runs the command and returns its exit status: 1 if a run failed. Raises InputError."""
    _check(options)
    engine = engines.load(options.on, options.settings)
    experiment = load(options.file, options.seeds)
    content = published.read(experiment.published)
    if options.into:  # to report missing markers before anything runs
        _fill(options.into, experiment, "", {table.title: "" for table in experiment.tables})
    if options.check:
        return _check_published(options, experiment, content)
    runs = plan.make(experiment, options.runs)
    todo = _todo(select(experiment, options.only), runs)
    if options.dry_run:
        print("\n".join(forecast.lines(todo, runs, options.runs, content)))
        works = jobs.works(todo, runs, options.runs, options.trust)
        if works and (lines := engine.shown(works)):
            print("\n".join(["", f"{options.on} would be asked for:", *lines]))
        return 0
    failed: dict[str, str] = {}
    if options.publish:
        content = _publish(experiment, runs)
    elif options.merge:
        content = _merge(options, experiment, runs)
    elif not options.print_only:
        failed = _compute(options, engine, todo, runs)
    numbers = gather(experiment, runs, content, tell, strict=options.print_only)
    _write(options, experiment, numbers, runs)
    failed = numbers.unread | failed
    for reference, reason in failed.items():
        tell(f"FAILED {reference}: {reason}")
    return 1 if failed else 0


def _compute(
    options: Options,
    engine: engines.Starts | engines.Submits,
    todo: Sequence[Run],
    runs: Mapping[str, Run],
) -> dict[str, str]:
    """Computes or submits the runs; returns why runs failed, by reference."""
    if not todo:
        tell("nothing to do: every run is finished")
        return {}
    works = jobs.works(todo, runs, options.runs, options.trust)
    engine.check(works)
    if isinstance(engine, engines.Submits):
        engine.submit(works, tell)
        return {}
    tell(f"{counted(len(todo), 'run')} to do; see --dry_run for an estimate")
    return jobs.run_all(works, engine, options.settings, tell, options.on)


def _check_published(options: Options, experiment: Experiment, content: Mapping) -> int:
    """Runs a published cell again; returns 1 if it comes out differently."""
    planned = plan.make(experiment, os.devnull)
    cells = select(experiment, options.only)
    root, cell = recheck.draw(options.runs, experiment, planned, content, cells)
    options = dataclasses.replace(options, runs=str(root))
    runs = plan.make(experiment, options.runs)
    todo = _todo([cell], runs)
    if options.dry_run:
        print("\n".join(forecast.lines(todo, runs, options.runs, content)))
        return 0
    verb = "going on with the check of" if root.exists() else "checking"
    tell(f"{verb} {cell.name} in {root}: {runs[cell.reference].reference}")
    recheck.begin(root, experiment, cell)  # the same command goes on with it after a stop
    failed = _compute(options, engines.load("local", options.settings), todo, runs)
    for reference, reason in failed.items():
        tell(f"FAILED {reference}: {reason}")
    recheck.end(root)
    if failed:
        return 1
    verdict = recheck.compare(experiment, cell, runs, planned, content)
    print(verdict.line)
    return 0 if verdict.same else 1


def tell(line: str) -> None:
    """Prints a line about the progress, to stderr."""
    print(message(line), file=sys.stderr, flush=True)


def _check(options: Options) -> None:
    """Raises InputError for options that cannot be used."""
    for name, number in (("jobs", options.jobs), ("seeds", options.seeds)):
        if number is not None and number < 1:
            raise InputError(f"--{name}: expected 1 or more, got {number}.")
    if options.retries < 0:
        raise InputError(f"--retries: expected 0 or more, got {options.retries}.")
    actions = {"--publish": options.publish, "--check": options.check, "--merge": options.merge}
    if len(chosen := [name for name, value in actions.items() if value]) > 1:
        raise InputError(f"{' and '.join(chosen)} are different commands. Leave out one.")
    if options.check and options.on != "local":
        raise InputError("--check: runs one cell on this machine. Leave --on out.")
    if chosen and options.seeds is not None:
        raise InputError(
            "published results have the experiment's number of seeds. Leave --seeds out."
        )
    if (options.publish or options.merge) and find(options.file, "experiment")[1]:
        raise InputError(
            f"{options.file} is part of kd, and its published results are, too. Copy "
            "the file (kd experiments NAME --path says where it is), and publish your copy."
        )
    for name, folder in (("runs", options.runs), ("out", options.out)):
        if folder and epath.Path(folder).is_file():
            raise InputError(f"--{name} {folder} is a file, expected a directory.")


def select(experiment: Experiment, pattern: str) -> list[Cell]:
    """Cells whose row, column or config matches the pattern.

    A pattern with `*` or `?` must match the complete text, another one any part of it.
    """
    if not pattern:
        return experiment.cells()
    low, is_complete = pattern.lower(), bool(re.search(r"[*?]", pattern))
    matches = lambda text: fnmatch.fnmatchcase(text, low) if is_complete else low in text
    cells = [
        cell
        for cell in experiment.cells()
        if any(matches(text.lower()) for text in (cell.name, cell.reference))
    ]
    if not cells:
        names = dict.fromkeys(cell.row for cell in experiment.cells())
        raise InputError(f"--only {pattern!r} matches no cell. Rows: {'; '.join(names)}.")
    return cells


def _todo(cells: Iterable[Cell], runs: Mapping[str, Run]) -> list[Run]:
    """Unfinished runs that these cells need, each once and after those that it needs."""
    order: dict[str, Run] = {}
    for cell in cells:
        if not runs[cell.reference].workdir.finished:
            order |= {r.reference: r for r in plan.order_of(runs[cell.reference], runs)}
    return [run for run in order.values() if not run.workdir.finished]


def _publish(experiment: Experiment, runs: Mapping[str, Run]) -> dict:
    """Publishes the finished cells and returns the content of the file."""
    publication = published.publish(
        experiment.published, runs, experiment.cells(), experiment.contrasts()
    )
    return _published(experiment, publication)


def _merge(options: Options, experiment: Experiment, runs: Mapping[str, Run]) -> dict:
    """Merges published files into the experiment's and returns its content."""
    result = merge.merge(experiment.published, runs, options.merge, options.mixed_commits)
    return _published(experiment, result)


def _published(experiment: Experiment, publication: published.Publication) -> dict:
    """Says what was published, and returns the content of the file."""
    tell(f"{experiment.published}: {publication.cells} of {publication.total} cells")
    for reference in publication.removed:
        tell(f"removed, because it is no longer part of the experiment: {reference}")
    return published.read(experiment.published)


def _write(
    options: Options,
    experiment: Experiment,
    numbers: Numbers,
    runs: Mapping[str, Run],
) -> None:
    """Prints the tables, and writes the files that the options name."""
    entries = numbers.entries
    markdown = layout.markdown(experiment, entries, runs, numbers.claim)
    csv = sheet.text(experiment, entries, runs, numbers.claim)
    print(csv if options.csv else markdown, end="")
    folder = options.out or (None if options.print_only else options.runs)
    if folder:
        out = epath.Path(folder)
        with refusals(out):
            out.mkdir(parents=True, exist_ok=True)
        files: list[Path | epath.Path] = [
            out / f"{experiment.name}{suffix}" for suffix in (".md", ".csv")
        ]
        for file, text in zip(files, (markdown, csv), strict=True):
            with replacing(file) as part:
                part.write_text(text)
        files += _draw(out, experiment, numbers, runs)
        tell("written: " + ", ".join(map(str, files)))
    complete = all(runs[c.reference].workdir.finished for c in experiment.cells())
    if options.publish:
        folder = experiment.published.parent
        if complete:  # otherwise there would be fewer curves than before
            _draw(folder, experiment, numbers, runs)
        else:  # these are drawn from the published numbers
            from kd.tables import figure, forest

            figure.against(experiment, entries, runs, folder, tell)
            forest.draw(experiment, numbers, folder)
    if options.into:
        folded = layout.markdown(experiment, entries, runs, numbers.claim, folded=True)
        text = _fill(options.into, experiment, folded, single_tables(experiment, entries))
        document.write(options.into, text)


def _fill(file: str, experiment: Experiment, markdown: str, tables: Mapping[str, str]) -> str:
    """The text of a file with the experiment between its markers. Raises InputError."""
    try:
        text = overview.with_section(document.read(file), experiment, Path(file))
        text = document.fill(text, experiment.name, markdown, tables)
        return overview.fill(text, experiment) if markdown else text
    except InputError as error:
        raise InputError(f"--into {file}: {error}") from error


def _draw(
    out: Path | epath.Path,
    experiment: Experiment,
    numbers: Numbers,
    runs: Mapping[str, Run],
) -> list[Path | epath.Path]:
    """Draws NAME.png and the figures that tables request, in the directory `out`."""
    from kd.tables import figure, forest

    files = forest.draw(experiment, numbers, out)
    curves = figure.curves(experiment, runs, out / f"{experiment.name}.png")
    return curves + figure.against(experiment, numbers.entries, runs, out, tell) + files
