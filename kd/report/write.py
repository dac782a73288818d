"""Writes the three files of a report."""

import json
from collections.abc import Sequence
from contextlib import ExitStack

from etils import epath

from kd.files.writing import refusals, replacing
from kd.report.content import make_content
from kd.report.format import short
from kd.report.markdown import as_markdown
from kd.report.page import as_html


def write(
    paths: Sequence[str],
    out: str | None,
    root: str = "runs",
    networks: bool = True,
    images: int | None = None,
) -> epath.Path:
    """Writes `report.html`, `report.json` and `report.md`; returns the page's path.

    All three are made before the first is written, so that an error leaves an older report as it
    was.

    Args:
      paths: directories of finished runs.
      out: directory of the report; None is RUN/report, or for several runs `report` beside the
        first.
      root: see `kd.report.content.make_content`.
      networks: likewise.
      images: likewise.
    """
    content = make_content(paths, root, networks, images)
    first = epath.Path(paths[0])
    count = len(content["runs"])
    title = f"Report of {short(paths[0]) if count == 1 else f'{count} runs'}"
    parent = first if count == 1 else first.parent
    directory = epath.Path(out) if out else parent / "report"
    texts = {
        "report.json": json.dumps(content, indent=2) + "\n",
        "report.md": as_markdown(content, title),
        "report.html": as_html(content, title),
    }
    with refusals(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:  # nothing is replaced before everything is written
        for name, text in texts.items():
            stack.enter_context(replacing(directory / name)).write_text(text)
    return directory / "report.html"
