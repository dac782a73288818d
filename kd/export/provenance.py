"""Where an export comes from: its run, its teachers, the versions of packages, and its files."""

import contextlib
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from kd import __version__
from kd.config.teachers import Recorded, describe_external, external, recorded
from kd.export.source import Source
from kd.runs.workdir import Workdir

PACKAGES = (
    "jax",
    "litert-converter",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "tflite-micro",
    "bakenn",
    "onnx",
    "onnxruntime",
)


def identity(workdir: Workdir) -> str:
    """Sixteen hexadecimal digits of the sha256 of the run's `result.json`."""
    content = (workdir.path / "result.json").read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of kd and of the packages of exports that are installed."""
    installed = {"kd": __version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def describe(source: Source) -> dict[str, Any]:
    """Entries of `report.json` about the network: run, training, teachers, costs, packages."""
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
    """The groups of the teacher, with their accuracy where their runs still exist, or the file that
    it is; None without one.
    """
    if external(result["teacher"]):
        return {"groups": [], "file": describe_external(result["teacher"])}
    groups = [
        group.to_json() | {"accuracy": _accuracy(group)} for group in recorded(result["teacher"])
    ]
    return {"groups": groups} if groups else None


def _accuracy(group: Recorded) -> float | None:
    """Mean over the members; None where their run is gone or saw other images."""
    workdir = Workdir(group.run)
    if group.input or not workdir.finished:
        return None
    accuracies = workdir.read("result.json")["final"]["accuracy"]
    return float(np.mean([accuracies[i] for i in group.members]))


def files(directory: Path) -> dict[str, dict[str, Any]]:
    """Size in bytes and sha256 of each file, by its path in the directory."""
    entries = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        entries[str(path.relative_to(directory))] = {"bytes": len(content), "sha256": digest}
    return entries
