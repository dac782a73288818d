"""The three files of a report."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kd.report.conclusions import short
from kd.report.content import make_content
from kd.report.markdown import as_markdown
from kd.report.page import as_html


def write(
    paths: Sequence[str],
    out: str | None,
    root: str = "runs",
    run: bool = True,
    images: int | None = None,
) -> Path:
    """Writes `report.html`, `report.json` and `report.md`; returns the page's path.

    By default they go into RUN/report, or, of several runs, into `report` beside the first. All three are made before the first
    is written, so that a report that cannot be made leaves an older one alone. Arguments: see `make_content`.
    """
    content = make_content(paths, root, run, images)
    first = Path(paths[0])
    count = len(content["runs"])
    title = f"Report of {short(paths[0]) if count == 1 else f'{count} runs'}"
    home = first if count == 1 else first.parent
    folder = Path(out) if out else home / "report"
    texts = {
        "report.json": json.dumps(content, indent=2) + "\n",
        "report.md": as_markdown(content, title),
        "report.html": as_html(content, title),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as building:
        for name, text in texts.items():
            (Path(building) / name).write_text(text, encoding="utf-8")
        for name in texts:
            (Path(building) / name).replace(folder / name)
    return folder / "report.html"
