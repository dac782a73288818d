"""Collects the numbers of an experiment, from finished runs or else from published results."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

from kd.errors import InputError
from kd.tables import document, layout, plan, published, results
from kd.tables.experiment import load
from kd.tables.measure import Entry, measure, of_claim
from kd.tables.plan import Run
from kd.tables.table import Cell, Experiment


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The numbers of an experiment.

    Attributes:
      entries: of each table.
      claim: of the claim's hypotheses.
      unread: why a finished run could not be read, by reference; its cells are missing.
    """

    entries: list[list[Entry]]
    unread: dict[str, str]
    claim: Sequence[Entry] = ()


def gather(
    experiment: Experiment,
    runs: Mapping[str, Run],
    content: Mapping,
    tell: Callable[[str], None],
    strict: bool = True,
) -> Numbers:
    """Collects the numbers of all tables.

    Args:
      experiment: which one.
      runs: its runs by reference.
      content: of its published results.
      tell: called with a line for published results that are not shown.
      strict: raise for published results of another config, instead of leaving them out. Those of
        another teacher are always left out.

    Raises:
      InputError: see `strict`.
    """
    unread: dict[str, str] = {}
    not_shown: set[str] = set()

    def find(cell: Cell) -> results.Result | None:
        run = runs[cell.reference]
        try:
            if result := results.of_run(run):
                values = result.values(cell)
                result = published.with_contrasts(result, content, run)
                return dataclasses.replace(result, values=lambda _: values)
        except InputError as error:
            unread[run.reference] = str(error)
            return None
        try:
            return published.find(content, run, experiment.published)
        except InputError as error:
            if strict and not isinstance(error, published.OtherTeacher):
                raise
            if run.reference not in not_shown:
                not_shown.add(run.reference)
                tell(f"not shown: {error}")
            return None

    entries = [measure(table, find) for table in experiment.tables]
    return Numbers(entries, unread, of_claim(experiment.claim, find))


def single_tables(experiment: Experiment, entries: Sequence[list[Entry]]) -> dict[str, str]:
    """Each table as Markdown, by its title."""
    tables = zip(experiment.tables, entries, strict=True)
    return {table.title: layout.single(table, its_entries) for table, its_entries in tables}


def as_published(text: str, file: str) -> str:
    """A document with the published results of an experiment between its markers.

    Args:
      text: the document.
      file: the experiment's.

    Raises:
      InputError: the experiment, its published results or the markers are wrong.
    """
    experiment = load(file)
    runs = plan.make(experiment, os.devnull)
    content = published.read(experiment.published)
    numbers = gather(experiment, runs, content, tell=lambda line: None)
    markdown = layout.markdown(experiment, numbers.entries, runs, numbers.claim, folded=True)
    tables = single_tables(experiment, numbers.entries)
    return document.fill(text, experiment.name, markdown, tables)
