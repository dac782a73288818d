"""A report as Markdown: everything but the drawings and pictures, whose numbers stand in its
tables.
"""

from typing import Any

from kd.report.blocks import Block, Grid, Heat, Note, Pictures, Points, Table
from kd.report.conclusions import short
from kd.report.sections import sections, subtitle


def as_markdown(content: dict[str, Any], title: str) -> str:
    """The whole text."""
    runs = content["runs"]
    parts = [f"# {title}", subtitle(runs)]
    for run in runs:
        name = f"{short(run['run'])}: " if len(runs) > 1 else ""
        parts.append(f"**{name}{run['verdict']['text']}**")
    parts.append(_block(Points(content["conclusions"])))
    for section in sections(content):
        parts.append(f"{'#' * section.level} {section.title}")
        parts += [text for block in section.blocks if (text := _block(block))]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Note):
        return block.text
    if isinstance(block, Points):
        return "\n".join(f"- {line}" for line in block.lines)
    if isinstance(block, Table):
        return _table(block.grid)
    if isinstance(block, Heat):
        told = lambda v: "" if v is None else f"{v:.2f}"
        lines = [
            [name, *map(told, values)]
            for name, values in zip(block.rows, block.values, strict=True)
        ]
        return _table([[block.corner, *block.columns], *lines])
    if isinstance(block, Pictures):
        captions = [caption for _, caption in block.pictures if "#" in caption]
        return f"- {block.title}: {'; '.join(captions)}" if captions else ""
    return ""


def _table(grid: Grid) -> str:
    head, *rows = ("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in grid)
    rule = "| --- |" + " ---: |" * (len(grid[0]) - 1)
    return "\n".join([head, rule, *rows])
