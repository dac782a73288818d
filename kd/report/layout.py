"""The blocks of a report in the order in which they are read."""

from collections.abc import Iterator
from typing import Any

from kd.report import sections
from kd.report.blocks import Block, Facts, Heading, Points, Table
from kd.report.format import short
from kd.report.terms import meanings

CODE = ("command",)
"""Facts of the provenance that are set as code."""


def blocks(content: dict[str, Any]) -> Iterator[Block]:
    """All blocks below the conclusions; each column is explained below its first table."""
    known: set[str] = set()
    for block in _blocks(content):
        yield block
        if isinstance(block, Table) and (items := meanings(block.grid, known)):
            known |= {head for head, _ in items}
            yield Facts(items)


def _blocks(content: dict[str, Any]) -> Iterator[Block]:
    """Sections on all runs, then those of each run."""
    runs, every = content["runs"], sections.load()
    for section in every:
        yield from _section(section.title, section.show_all(content), 2)
    for run in runs:
        level = 2
        if len(runs) > 1:
            level = 3
            yield Heading(short(run["run"]))
            yield Facts(run["provenance"], CODE)
            yield Points(run["conclusions"])
        for section in every:
            yield from _section(section.title, section.show(run), level)


def _section(title: str, shown: list[Block], level: int) -> Iterator[Block]:
    if shown:
        yield Heading(title, level)
        yield from shown


def subtitle(runs: list[dict[str, Any]]) -> str:
    """What was evaluated on which examples."""
    first = runs[0]
    seeds = " and ".join(str(n) for n in sorted({len(run["seeds"]) for run in runs}))
    return (
        f"{first['examples']:,} {first['split']} images of {first['data']}, {seeds} "
        f"seed{'s' * (seeds != '1')}. Numbers of a student are means over its seeds unless stated "
        "otherwise."
    )
