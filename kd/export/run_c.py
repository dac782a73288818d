"""Compiles and runs the C program of an export on this machine."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from kd.errors import InputError, RunError

SECONDS = 600
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-O2")


def compiler() -> str:
    """The C compiler: $CC, gcc, cc or clang. Raises InputError where there is none."""
    for name in (os.environ.get("CC", ""), "gcc", "cc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise InputError(
        "--format c compiles and runs the C program to check it, and there is no C compiler here: "
        "install gcc, name one in $CC, or leave the kernels out with --kernels none."
    )


def check(directory: Path) -> int:
    """Largest difference from the golden vectors, in units of the output.

    Raises:
      RunError: the program does not compile or does not run.
    """
    sources = sorted(directory.rglob("*.c"))
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "check"
        _run([compiler(), *FLAGS, *map(os.fspath, sources), "-o", os.fspath(program)])
        output = _run([os.fspath(program)], accepted=(0, 1))
    match = re.search(r"largest difference (\d+)", output)
    if match is None:
        raise RunError(f"the C program printed {output.strip()!r}.")
    return int(match[1])


def _run(command: list[str], accepted: tuple[int, ...] = (0,)) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise RunError(f"{Path(command[0]).name} did not end within {SECONDS} seconds.") from error
    if done.returncode not in accepted:
        raise RunError(
            f"{Path(command[0]).name} failed with {done.returncode}: "
            f"{(done.stderr or done.stdout).strip()[:500]}"
        )
    return done.stdout
