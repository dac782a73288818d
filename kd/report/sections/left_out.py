"""What a report from stored predictions lacks."""

from typing import Any

from kd.report.blocks import Block, Note

TITLE = "Left out"
ORDER = 90


def show(content: dict[str, Any]) -> list[Block]:
    """The list of what is left out."""
    if content["networks"]:
        return []
    note = (
        "This report uses stored predictions only (--stored): it has no pictures of mistakes, "
        "corrupted images, similarity of the stages, dead units and latency."
    )
    return [Note(note)]
