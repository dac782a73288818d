"""Claims in a document: a section for each, and a table of all of them. Imports no jax."""

import os
from pathlib import Path

from kd.config import shipped
from kd.errors import InputError
from kd.tables import document, plan, published
from kd.tables.experiment import load
from kd.tables.gather import gather
from kd.tables.markdown_table import lines
from kd.tables.table import Experiment
from kd.tables.verdict import outcomes, verdict

MARKER = "claims"
"""Name of the table of all claims, `<!-- table: claims -->`."""


def with_section(text: str, experiment: Experiment, file: Path) -> str:
    """The document with a section for a claim at its end, if it has no markers for it.

    Args:
      text: the document.
      experiment: which one; unchanged if it has no claim.
      file: of the document, to which the path of the picture is relative.
    """
    begin = f"<!-- table: {experiment.name} -->"
    if experiment.claim is None or begin in text:
        return text
    parts = [text.rstrip(), f"## {experiment.title}", f"{begin}\n{document.END}"]
    picture = experiment.published.parent / f"{experiment.name}-differences.png"
    if picture.is_file():
        path = os.path.relpath(picture.resolve(), file.resolve().parent)
        parts.append(f"![Differences with their 95 % intervals]({Path(path).as_posix()})")
    return "\n\n".join(parts) + "\n"


def fill(text: str, experiment: Experiment) -> str:
    """The document with the table of all claims between its markers, if it has them.

    Args:
      text: the document.
      experiment: a claim, in the folder of all of them; unchanged if it is none.
    """
    if experiment.claim is None or f"<!-- table: {MARKER} -->" not in text:
        return text
    return document.embed(text, MARKER, table(experiment.published.parents[1]))


def table(folder: Path) -> str:
    """A line for each claim in a folder: the verdict by its published results."""
    rows = []
    for file in sorted(folder.glob("*.py")):
        if f"\ndef {shipped.FUNCTIONS['experiment']}(" not in file.read_text():
            continue
        experiment = load(str(file))
        if experiment.claim is None:
            continue
        runs = plan.make(experiment, os.devnull)
        try:
            content = published.read(experiment.published)
            numbers = gather(experiment, runs, content, tell=lambda line: None)
            word = verdict(outcomes(experiment.claim, numbers.claim))
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        claim = experiment.claim
        rows.append([experiment.title, claim.sentence, claim.paper, f"**{word}**", claim.on])
    return "\n".join(lines(["", "claim", "paper", "verdict", "on"], rows, "lllll")) + "\n"
