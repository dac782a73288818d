"""Hardware, code version, time and memory of a run, stored with its results."""

import contextlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import time
from types import TracebackType
from typing import Any

import jax

from kd import __version__

_compile_seconds = 0.0


def _add_compile_seconds(event: str, seconds: float, **_: Any) -> None:
    global _compile_seconds
    if event == "/jax/core/compile/backend_compile_duration":
        _compile_seconds += seconds


jax.monitoring.register_event_duration_secs_listener(_add_compile_seconds)  # pyrefly: ignore


class Spent:
    """Context manager that measures the time and memory that its block takes."""

    def __enter__(self) -> "Spent":
        self._start, self._compiled = time.monotonic(), _compile_seconds
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wall = time.monotonic() - self._start
        self._compile = _compile_seconds - self._compiled

    def figures(self, examples: float) -> dict[str, Any]:
        """Figures of the newest session.

        Args:
          examples: number of examples trained on, counted once for each seed.

        Returns:
          `compile_seconds` of XLA; `examples_per_second` without compilation, with evaluations; and
          `peak_memory_bytes`, the process's largest resident size.
        """
        running = max(self._wall - self._compile, 1e-9)
        return {
            "compile_seconds": round(self._compile, 3),
            "examples_per_second": round(examples / running, 1),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }


def hardware() -> dict[str, Any]:
    """Kind and number of devices, and the host."""
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Versions of Python, kd and the packages that compute."""
    known = {"python": platform.python_version(), "kd": __version__}
    for name in ("jax", "jaxlib", "flax", "optax", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            known[name] = importlib.metadata.version(name)
    return known


def git_commit() -> str | None:
    """Commit of the working directory, `+` if files differ from it; None outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + "+" * bool(git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.SubprocessError):
        return None
