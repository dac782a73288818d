"""Counts of `kd verify` from runs, as a table of docs/verify.md.

    python -m benchmarks.certificates DIR RUN NAME ...

keeps the counts of `verify.json` in DIR, of the run in RUN, with hardware and versions, in
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
PARTS = {
    "digits": ("digits", "digits-teachers"),
    "fashion_mnist": ("fashion_mnist", "fashion_mnist-all"),
}
"""Stored counts of each table, by its name."""

KEPT = ("kd", "seed", "data", "examples", "norm", "unit", "exact", "agreement", "difference")


def kept(directory: str, run: str) -> dict[str, Any]:
    """The counts of `verify.json` in a directory, without what is of single images."""
    content = certificates.read(Workdir(directory))
    if content is None:
        raise InputError(f"{directory} has no {certificates.FILE}: run kd verify first.")
    short = lambda rows: [{k: v for k, v in r.items() if not isinstance(v, list)} for r in rows]
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


def table(names: Sequence[str]) -> list[list[str]]:
    """Lines of cells: each network and radius, from the file that has them first."""
    lines = [["network", "radius", "images", "certified", "refuted", "open", "decided %"]]
    lines[0].append("ms an image")
    rows: dict[str, dict[float, list[str]]] = {}
    for content in map(stored, names):
        for network in content.get("networks", []):
            of_network = rows.setdefault(network["name"], {})
            for r in network["radii"]:
                counts = [r[key] for key in ("proved", "refuted", "open")]
                n = sum(counts)
                seconds = (r["seconds"] + r["attack_seconds"]) / n
                shares = [f"{100 * (n - counts[2]) / n:.1f}", f"{1e3 * seconds:.3g}"]
                cells = [network["name"], f"{r['radius']:g}", str(n), *map(str, counts), *shares]
                of_network.setdefault(r["radius"], cells)
    for of_network in rows.values():
        lines += [cells for _, cells in sorted(of_network.items())]
    return lines


def agreement(names: Sequence[str]) -> list[list[str]]:
    """Lines of cells: student against teacher."""
    lines = [["teacher", "radius", "images", "one class, proved %"]]
    lines[0] += ["difference of the logits, at most", "at the images"]
    for content in map(stored, names):
        compared = content.get("agreement") or {"radii": []}
        n = content.get("images", 0)
        for r in compared["radii"]:
            numbers = [f"{100 * r['same'] / n:.1f}", f"{r['gap']:.2f}", f"{r['gap_at_image']:.2f}"]
            lines.append([compared["teacher"], f"{r['radius']:g}", str(n), *numbers])
    return lines


def difference(names: Sequence[str]) -> list[list[str]]:
    """Lines of cells: logits of the float network against those of its int8 file."""
    lines = [["radius", "images", "at most in any ball", "mean over the balls", "at the images"]]
    for content in map(stored, names):
        for r in (content.get("difference") or {"radii": []})["radii"]:
            numbers = [f"{r[key]:.2f}" for key in ("bound", "mean", "at_image")]
            lines.append([f"{r['radius']:g}", str(content["images"]), *numbers])
    return lines


def setting(names: Sequence[str]) -> list[list[str]]:
    """Lines of cells: what was run, where."""
    lines = [["run", "networks", "seconds for exact bounds", "processor", "cores", "jax"]]
    for content in map(stored, names):
        if content:
            cores = str(content["hardware"]["cores"])
            networks = ", ".join(network["name"] for network in content["networks"])
            facts = [f"{content['exact']:g}", content["processor"]["model"], cores, content["jax"]]
            lines.append([f"`{content['config']}`", networks, *facts])
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Stores the counts in DIR, of RUN, under NAME: `DIR RUN NAME`, one after another."""
    arguments = sys.argv[1:] if arguments is None else arguments
    folder = record.RESULTS / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(0, len(arguments), 3):
        directory, run, name = arguments[place : place + 3]
        text = json.dumps(kept(directory, run), indent=1)
        (folder / f"{name}.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
