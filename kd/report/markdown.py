"""A report as Markdown: everything but the drawings and pictures, whose numbers stand in its tables."""

from typing import Any

from kd.report.blocks import Block, Grid, Heat, Note, Pictures, Table
from kd.report.sections import sections, subtitle


def as_markdown(content: dict[str, Any], title: str) -> str:
    """The whole text."""
    runs = content["runs"]
    parts = [f"# {title}"]
    if len(runs) == 1:
        parts.append(subtitle(runs[0]))
    parts.append("\n".join(f"- {line}" for line in content["conclusions"]))
    for section in sections(content):
        parts.append(f"{'#' * section.level} {section.title}")
        parts += [text for block in section.blocks if (text := _block(block))]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Note):
        return block.text
    if isinstance(block, Table):
        return _table(block.grid)
    if isinstance(block, Heat):
        lines = [[name, *(f"{v:.2f}" for v in values)] for name, values in zip(block.rows, block.values, strict=True)]  # fmt: skip
        return _table([[block.corner, *block.columns], *lines])
    if isinstance(block, Pictures):
        captions = [caption for _, caption in block.pictures if "#" in caption]
        return f"- {block.title}: {'; '.join(captions)}" if captions else ""
    return ""


def _table(grid: Grid) -> str:
    head, *rows = ("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in grid)  # fmt: skip
    rule = "| --- |" + " ---: |" * (len(grid[0]) - 1)
    return "\n".join([head, rule, *rows])
