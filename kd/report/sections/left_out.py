"""What a report of stored predictions lacks."""

from typing import Any

from kd.report.blocks import Block, Note

TITLE = "Left out"
ORDER = 90


def show(content: dict[str, Any]) -> list[Block]:
    """The list of what is left out."""
    if content["networks"]:
        return []
    note = (
        "This report is from stored predictions alone (--stored): without mistakes as "
        "pictures, corrupted images, likeness of the stages, dead units and latency."
    )
    return [Note(note)]
