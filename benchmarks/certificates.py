"""Counts of `kd verify` from runs, as a table of docs/verify.md.

    python -m benchmarks.certificates RUN NAME ...

keeps the counts of RUN's `verify.json`, with hardware and versions, in
`benchmarks/results/certificates/NAME.json`.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import record
from kd.errors import InputError
from kd.runs import certificates
from kd.runs.workdir import Workdir

FOLDER = "certificates"
LISTS = ("statuses", "methods", "margins", "proved", "gaps", "bounds")
KEPT = ("kd", "seed", "data", "examples", "norm", "unit", "exact", "agreement", "difference")


def kept(run: str) -> dict[str, Any]:
    """The counts of `verify.json` in a directory, without what is of single images."""
    content = certificates.read(Workdir(run))
    if content is None:
        raise InputError(f"{run} has no {certificates.FILE}: run kd verify first.")
    short = lambda rows: [{k: v for k, v in r.items() if k not in LISTS} for r in rows]
    result = json.loads((Path(run) / "result.json").read_text())
    facts: dict[str, Any] = {key: content.get(key) for key in KEPT}
    for key in ("agreement", "difference"):
        if compared := facts[key]:
            facts[key] = {**compared, "radii": short(compared["radii"])}
    networks = [
        {"name": n["name"], "by_intervals": n["by_intervals"], "radii": short(n["radii"])}
        for n in content["networks"]
    ]
    return {
        "config": result.get("command", ""),
        "images": len(content["index"]),
        **record.setting(),
        **facts,
        "networks": networks,
        "conclusion": content["conclusion"],
    }


def stored(name: str, folder: Path = record.RESULTS) -> dict[str, Any]:
    """The stored counts of one run; empty where there are none."""
    path = folder / FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def table(name: str) -> list[list[str]]:
    """Lines of cells: each network and radius."""
    content = stored(name)
    lines = [["network", "radius", "certified", "refuted", "open", "decided %", "s an image"]]
    for network in content.get("networks", []):
        for r in network["radii"]:
            counts = [r[key] for key in ("proved", "refuted", "open")]
            n = sum(counts)
            seconds = (r["seconds"] + r["attack_seconds"]) / n
            shares = [f"{100 * (n - counts[2]) / n:.1f}", f"{seconds:.2g}"]
            lines.append([network["name"], f"{r['radius']:g}", *map(str, counts), *shares])
    return lines


def agreement(name: str) -> list[list[str]]:
    """Lines of cells: student against teacher, and float against int8."""
    content = stored(name)
    n = content.get("images", 0)
    lines = [["radius", "one class, proved %", "logits apart, at most", "at the images"]]
    lines[0].append("int8 off, at most")
    agreed = (content.get("agreement") or {}).get("radii", [])
    off = {r["radius"]: r for r in (content.get("difference") or {}).get("radii", [])}
    for r in agreed:
        bound = f"{off[r['radius']]['bound']:.2f}" if r["radius"] in off else ""
        gaps = [f"{r['gap']:.2f}", f"{r['gap_at_image']:.2f}"]
        lines.append([f"{r['radius']:g}", f"{100 * r['same'] / n:.1f}", *gaps, bound])
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Stores the counts of RUN under NAME: `RUN NAME`, in pairs."""
    arguments = sys.argv[1:] if arguments is None else arguments
    folder = record.RESULTS / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for run, name in zip(arguments[::2], arguments[1::2], strict=True):
        (folder / f"{name}.json").write_text(json.dumps(kept(run), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
