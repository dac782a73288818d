"""`kd table`: runs what is missing of a paper's table, and prints it beside the paper's numbers. Imports no jax."""

import dataclasses
import fnmatch
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kd.errors import InputError
from kd.tables import experiment as experiments
from kd.tables import jobs as processes
from kd.tables import layout, measure, plan, results
from kd.tables.experiment import Cell, Experiment
from kd.tables.measure import Entry
from kd.tables.plan import Run


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
    """Does what the options say and returns the exit status: 1 where a run failed. Raises InputError."""
    for name, number in (("jobs", options.jobs), ("seeds", options.seeds)):
        if number is not None and number < 1:
            raise InputError(f"--{name}: expected 1 or more, got {number}.")
    experiment = experiments.load(options.file, options.seeds)
    published = results.read(experiment.published)
    runs = plan.make(experiment, options.runs)
    cells = _chosen(experiment, options.only)
    todo = _todo(cells, runs)
    if options.dry_run:
        print("\n".join(_forecast(todo, runs)))
        return 0
    failed: dict[str, str] = {}
    if not options.print_only and not options.publish:
        if todo:
            tell(f"{len(todo)} runs to do; see --dry_run for an estimate")
        failed = processes.run_all(todo, runs, options.jobs, options.runs, tell)
    if options.publish:
        there, size = results.publish(experiment.published, runs, experiment.cells())
        tell(f"{experiment.published}: {there} of {size} cells")
        published = results.read(experiment.published)
    entries = gather(experiment, runs, published, strict=options.print_only)
    text = layout.markdown(experiment, entries, runs)
    print(layout.as_csv(experiment, entries, runs) if options.csv else text, end="")
    out = options.out or (None if options.print_only else options.runs)
    if out:
        _write(Path(out), experiment, entries, runs)
    if options.into:
        file = Path(options.into)
        file.write_text(embed(file.read_text(), experiment.name, text))
    for reference, reason in failed.items():
        tell(f"FAILED {reference}: {reason}")
    return 1 if failed else 0


def tell(line: str) -> None:
    """A line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


def gather(
    experiment: Experiment,
    runs: Mapping[str, Run],
    published: Mapping,
    strict: bool = True,
) -> list[list[Entry]]:
    """The numbers of each table: of finished runs, and else those published.

    Raises:
      InputError: damaged results; with `strict`, published ones of another config, which else are missing.
    """

    def find(cell: Cell) -> results.Result | None:
        run = runs[cell.reference]
        found = results.of_run(run)
        try:
            return found or results.of_published(published, run, experiment.published)
        except InputError:
            if strict:
                raise
            return None

    return [measure.measure(table, find) for table in experiment.tables]


def published_markdown(file: str) -> str:
    """The table as documents show it: from published results alone. Raises InputError."""
    experiment = experiments.load(file)
    published = results.read(experiment.published)
    runs = plan.make(experiment, os.devnull)
    entries = gather(experiment, runs, published)
    return layout.markdown(experiment, entries, runs)


def embed(text: str, name: str, table: str) -> str:
    """The text with the table between its markers. Raises InputError where they are not there."""
    begin, end = f"<!-- table: {name} -->", "<!-- /table -->"
    pattern = re.compile(f"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    if not pattern.search(text):
        raise InputError(f"no markers: expected a line {begin} and below it {end}.")
    return pattern.sub(lambda m: m[1] + table + m[2], text)


def _chosen(experiment: Experiment, pattern: str) -> list[Cell]:
    """Cells whose row, column or config the pattern finds: with `*` or `?` as a whole, else anywhere in it."""
    if not pattern:
        return experiment.cells()
    wild = pattern.lower() if re.search(r"[*?]", pattern) else f"*{pattern.lower()}*"
    found = [
        cell
        for cell in experiment.cells()
        if any(
            fnmatch.fnmatchcase(text.lower(), wild)
            for text in (cell.name, cell.reference)
        )
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
            order |= {r.identity: r for r in plan.steps(runs[cell.reference], runs)}
    return [run for run in order.values() if not run.workdir.finished]


def _forecast(todo: Sequence[Run], runs: Mapping[str, Run]) -> list[str]:
    """What would run, and for how long by what is known."""
    lines, total, unknown = [], 0.0, 0
    for run in todo:
        seconds, why = _estimate(run, runs)
        begun = ", goes on" if run.workdir.metrics.exists() else ""
        if seconds is None:
            unknown += 1
            lines.append(f"{run.reference}{begun}: {why}")
        else:
            total += seconds
            lines.append(f"{run.reference}{begun}: {_minutes(seconds)} ({why})")
    more = f", and {unknown} runs of unknown length" if unknown else ""
    return [*lines, f"{len(todo)} runs to do, one at a time {_minutes(total)}{more}"]


def _estimate(run: Run, runs: Mapping[str, Run]) -> tuple[float | None, str]:
    """Seconds that the whole run may take, and how we know."""
    rows = {cell.row for cell in run.cells}
    same, near = [], []
    for other in {r.identity: r for r in runs.values()}.values():
        if other.workdir.finished:
            result = other.workdir.read("result.json")
            seconds = result["seconds"] / len(result["seeds"]) * run.config.seeds
            if _but_seeds(other.reference) == _but_seeds(run.reference):
                same.append(seconds)
            elif rows & {cell.row for cell in other.cells}:
                near.append(seconds)
    for found, why in ((same, "the same config"), (near, "its row")):
        if found:
            return sum(found) / len(found), f"from finished runs of {why}"
    budgets = [cell.budget for cell in run.cells if cell.budget is not None]
    if budgets:
        return 60 * max(budgets), "its budget"
    return None, "of unknown length"


def _but_seeds(reference: str) -> str:
    return re.sub(r"(?<=[:,])seeds=\d+,?", "", reference).rstrip(":,")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _write(
    out: Path,
    experiment: Experiment,
    entries: Sequence[list[Entry]],
    runs: Mapping[str, Run],
) -> None:
    """NAME.md, NAME.csv and figures, in the directory `out`."""
    from kd.tables import figure

    out.mkdir(parents=True, exist_ok=True)
    texts = {
        ".md": layout.markdown(experiment, entries, runs),
        ".csv": layout.as_csv(experiment, entries, runs),
    }
    for suffix, text in texts.items():
        (out / f"{experiment.name}{suffix}").write_text(text)
    drawn = figure.curves(experiment, runs, out / f"{experiment.name}.png")
    plots = figure.against(experiment, entries, out)
    files = [out / f"{experiment.name}{s}" for s in texts] + drawn + plots
    tell("written: " + ", ".join(map(str, files)))
