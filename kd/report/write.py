"""The three files of a report."""

import json
from collections.abc import Sequence

from etils import epath

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
) -> epath.Path:
    """Writes `report.html`, `report.json` and `report.md`; returns the page's path.

    By default they go into RUN/report, or, of several runs, into `report` beside the first. All
    three are made before the first is written, so that a report that cannot be made leaves an older
    one alone. Arguments: see `make_content`.
    """
    content = make_content(paths, root, run, images)
    first = epath.Path(paths[0])
    count = len(content["runs"])
    title = f"Report of {short(paths[0]) if count == 1 else f'{count} runs'}"
    home = first if count == 1 else first.parent
    folder = epath.Path(out) if out else home / "report"
    texts = {
        "report.json": json.dumps(content, indent=2) + "\n",
        "report.md": as_markdown(content, title),
        "report.html": as_html(content, title),
    }
    folder.mkdir(parents=True, exist_ok=True)
    parts = {folder / name: folder / f".{name}.part" for name in texts}
    try:
        for part, text in zip(parts.values(), texts.values(), strict=True):
            part.write_text(text)
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return folder / "report.html"
