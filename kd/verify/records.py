"""Writes the certificates of a run: `verify.json`, `verify.npz` and `verify.md`."""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from kd.files.escaping import markdown
from kd.files.parsers import with_digests
from kd.files.writing import replacing
from kd.runs import certificates as stored
from kd.runs.workdir import Workdir
from kd.verify.certificates import OPEN, PROVED, REFUTED, Result
from kd.verify.networks import Subject


def entry(subject: Subject, results: Sequence[Result]) -> dict[str, Any]:
    """A network of `verify.json`."""
    number = lambda x: float(x) if math.isfinite(x) else None
    return {
        "name": subject.name,
        "run": subject.run,
        "which": subject.which,
        "sha256": [member.sha256 for member in subject.members],
        "by_intervals": sorted({name for m in subject.members for name in m.crown.by_intervals}),
        "radii": [
            {
                "radius": r.radius,
                **{status: r.count(status) for status in (PROVED, REFUTED, OPEN)},
                "unstable": number(r.unstable),
                "units": r.units,
                "seconds": round(r.seconds, 4),
                "attack_seconds": round(r.attack_seconds, 4),
                "statuses": r.status.tolist(),
                "methods": r.method.tolist(),
                "margins": [number(x) for x in r.margin],
            }
            for r in results
        ],
    }


def witnesses(result: Result, name: str) -> dict[str, np.ndarray]:
    """The witnesses of a result: their images, bytes where all are, and their places."""
    if not result.witness:
        return {}
    image = np.stack([np.asarray(x) for x in result.witness.values()])
    return {f"{name}_index": np.array(list(result.witness), np.int32), f"{name}_image": image}


def write(directory: Workdir, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Writes the three files, `verify.json` last."""
    epath.Path(directory.path).mkdir(parents=True, exist_ok=True)
    directory.write(stored.WITNESSES, arrays)
    content["witnesses"] = digest(directory)
    parts = [
        f"# Certificates of {markdown(content['run'])}",
        markdown(content["conclusion"]),
        *(
            _grid(rows)
            for rows in (
                stored.table(content),
                stored.agreement(content),
                stored.difference(content),
            )
            if rows
        ),
        markdown(stored.note(content)),
    ]
    with replacing(directory.path / "verify.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")
    with replacing(directory.path / stored.FILE) as temporary:
        temporary.write_text(json.dumps(with_digests(content)) + "\n")


def _grid(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    cells = [[markdown(cell) for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [cells[0], rule, *cells[1:]])


def digest(directory: Workdir) -> str:
    """sha256 of the file of witnesses."""
    return hashlib.sha256((directory.path / stored.WITNESSES).read_bytes()).hexdigest()
