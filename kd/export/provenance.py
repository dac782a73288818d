"""Where an export comes from: its run, the teachers behind it, the packages that made it, and the
files as they are.
"""

import contextlib
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from kd import __version__
from kd.config.teachers import Recorded, recorded
from kd.export.source import Source
from kd.runs.workdir import Workdir

PACKAGES = (
    "jax",
    "litert-converter",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "tflite-micro",
    "bakenn",
)


def identity(workdir: Workdir) -> str:
    """Sixteen hexadecimal digits that another result of the same run would not have."""
    content = (workdir.path / "result.json").read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of what an export is made with, as far as it is installed."""
    found = {"kd": __version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def of(source: Source) -> dict[str, Any]:
    """What `report.json` has of the network: its run, its training, its teachers, its costs, and
    the packages of today.
    """
    result = source.result
    costs = result if source.peer is None else result["peers"][source.peer]
    return {
        "run": str(source.workdir),
        "result": identity(source.workdir),
        "config_hash": result["config_hash"],
        "seed": source.seed,
        "peer": source.peer,
        "seed_chosen": source.chosen,
        "split": result["split"],
        "teacher": teacher(result),
        "imported": result.get("imported"),
        "init": result.get("init"),
        "epochs": result["epochs"],
        "classes": result["num_classes"],
        "parameters": costs["parameters"],
        "macs": costs["macs"],
        "versions": versions(),
    }


def teacher(result: dict[str, Any]) -> dict[str, Any] | None:
    """What is known of the teacher: its groups, with their accuracy where their runs are still
    there.
    """
    groups = [
        group.to_json() | {"accuracy": _accuracy(group)} for group in recorded(result["teacher"])
    ]
    return {"groups": groups} if groups else None


def _accuracy(group: Recorded) -> float | None:
    """The mean over its members."""
    there = Workdir(group.run)
    if not there.finished:
        return None
    each = there.read("result.json")["final"]["accuracy"]
    return float(np.mean([each[i] for i in group.members]))


def files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size in bytes and sha256 of each file, by its path in the folder."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        found[str(path.relative_to(folder))] = {"bytes": len(content), "sha256": digest}
    return found
