"""What is known of the job that computes a run: `.jobs/RUN.json` in the directory of all runs."""

import contextlib
import json
from typing import Any

from etils import epath

from kd.errors import InputError, RunError
from kd.files.parsers import parse_json
from kd.files.writing import replacing
from kd.runs.workdir import Workdir


def file(workdir: Workdir) -> epath.Path:
    """The record of a run."""
    return workdir.path.parent / ".jobs" / f"{workdir.path.name}.json"


def write(workdir: Workdir, **content: Any) -> None:
    """Writes the record. A disk that refuses it is no error: it is only to be shown."""
    with contextlib.suppress(OSError, RunError):
        path = file(workdir)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(json.dumps(content) + "\n")


def read(workdir: Workdir) -> dict[str, Any]:
    """The record, empty if there is none or it is damaged.

    `engine`, `job`, `state` (`submitted`, `started`, `failed`), `reason`, `again` (how often it was
    started again).
    """
    try:
        content = parse_json(file(workdir).read_bytes())
    except (OSError, ValueError, InputError):
        return {}
    return content if isinstance(content, dict) else {}
