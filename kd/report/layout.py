"""The blocks of a report in the order in which they are read."""

from collections.abc import Iterator
from typing import Any

from kd.report import sections
from kd.report.blocks import Block, Heading, Points
from kd.report.format import short


def blocks(content: dict[str, Any]) -> Iterator[Block]:
    """All blocks below the conclusions: sections on all runs, then those of each run."""
    runs, every = content["runs"], sections.load()
    for section in every:
        yield from _section(section.title, section.show_all(content), 2)
    for run in runs:
        level = 2
        if len(runs) > 1:
            level = 3
            yield Heading(short(run["run"]))
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
