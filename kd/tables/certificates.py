"""Certificates of every network of a finished run, made by `kd verify` where they are missing.

They are in `RUN/verified/seedI`. Imports jax only where a metric reads them.
"""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.tables.metric import StoredRun

LADDER = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Radii that are certified together, where one of them is asked for."""

COMMAND = (sys.executable, "-m", "kd", "verify")
"""The command that makes certificates, to which its arguments are added."""


def shares(run: StoredRun, radius: float, without: str) -> list[float]:
    """Per cent of the images of each seed whose status is not one of those in `without`.

    Args:
      run: the finished run.
      radius: of the balls, as `kd verify --radius`.
      without: statuses, separated by spaces: `refuted open` leaves what is proved.

    Raises:
      InputError: the run cannot be verified; or its certificates are damaged.
    """
    contents = [_read(run, seed) for seed in run.result["seeds"]]
    if not all(content and radius in content["radii"] for content in contents):
        known = [content["radii"] for content in contents if content]
        radii = {radius, *(LADDER if radius in LADDER else ()), *(r for of in known for r in of)}
        _verify(run, sorted(radii))
        contents = [_read(run, seed) for seed in run.result["seeds"]]
    values = []
    for content in contents:
        networks = content["networks"] if content else []
        matching = [r for r in networks[0]["radii"] if r["radius"] == radius] if networks else []
        if not matching:
            raise InputError(f"{run.workdir} has no certificates at radius {radius:zg}.")
        (of_radius,) = matching
        n = sum(of_radius[status] for status in ("proved", "refuted", "open"))
        values.append(100 * (1 - sum(of_radius[status] for status in without.split()) / n))
    return values


def _read(run: StoredRun, seed: int) -> Any:
    """The certificates of a seed; None where there are none of its weights."""
    from kd.runs import certificates

    directory = Workdir(run.workdir.path / "verified" / f"seed{seed}")
    return certificates.of_weights(directory, run.result.get("weights"))


def _verify(run: StoredRun, radii: Sequence[float]) -> None:
    """Makes the certificates of all seeds, in a process of its own. Raises InputError."""
    path = str(run.workdir.path)
    arguments = ["--every_seed", "--only", "student", "--out", f"{path}/verified"]
    arguments += ["--radius", ",".join(f"{r:zg}" for r in radii)]
    process = subprocess.run([*COMMAND, path, *arguments], capture_output=True, text=True)
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["it was stopped"])[-1]
        raise InputError(f"{path} has no certificates: {last}")
