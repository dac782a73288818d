"""A report as Markdown, without drawings and pictures; their numbers are in the tables.

Written by hand: the only structure is a table, seven lines here. `tabulate`, the usual library,
does not escape `|` in cells, and reads cells as numbers: "98.20" becomes 98.2 and "+0.00" becomes
0, unless its parsing, and with it the alignment of numbers, is turned off.
"""

from typing import Any

from kd.files.escaping import code, markdown
from kd.report.blocks import Block, Facts, Grid, Heading, Heat, Note, Pictures, Points, Table
from kd.report.conclusions import STATES
from kd.report.format import short
from kd.report.layout import CODE, blocks, subtitle


def as_markdown(content: dict[str, Any], title: str) -> str:
    """The text of `report.md`, from the content of `report.json`."""
    runs = content["runs"]
    parts = [f"# {markdown(title)}", markdown(subtitle(runs))]
    if len(runs) == 1:
        parts.append(_block(Facts(runs[0]["provenance"], CODE)))
    for run in runs:
        name = f"{short(run['run'])}: " if len(runs) > 1 else ""
        verdict = run["verdict"]
        head = markdown(name + STATES[verdict["state"]])
        parts.append(f"**{head}.** {markdown(verdict['text'])}")
    parts.append(_block(Points(content["conclusions"])))
    parts += [text for block in blocks(content) if (text := _block(block))]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {markdown(block.text)}"
    if isinstance(block, Note):
        return markdown(block.text)
    if isinstance(block, Points):
        return "\n".join(f"- {markdown(line)}" for line in block.lines)
    if isinstance(block, Facts):
        lines = [
            f"- **{markdown(name)}**: {(code if name in block.code else markdown)(text)}"
            for name, text in block.items
        ]
        return "\n".join(lines)
    if isinstance(block, Table):
        return _table(block.grid)
    if isinstance(block, Heat):
        number = lambda v: "" if v is None else f"{v:z.2f}"
        rows = [
            [name, *map(number, values)]
            for name, values in zip(block.rows, block.values, strict=True)
        ]
        return _table([[block.corner, *block.columns], *rows])
    if isinstance(block, Pictures):
        captions = [caption for _, caption in block.pictures if "#" in caption]
        return f"- {markdown(f'{block.title}: ' + '; '.join(captions))}" if captions else ""
    return ""


def _table(grid: Grid) -> str:
    head, *rows = ("| " + " | ".join(map(markdown, row)) + " |" for row in grid)
    rule = "| --- |" + " ---: |" * (len(grid[0]) - 1)
    return "\n".join([head, rule, *rows])
