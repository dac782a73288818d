"""The C program of an export, compiled and run on this machine."""

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
        if name and (found := shutil.which(name)):
            return found
    raise InputError(
        "the C program is compiled and run before it is called good, and there is no C compiler "
        "here: install gcc, or name one in $CC, or leave the kernels out with --kernels none."
    )


def check(folder: Path) -> int:
    """Largest difference from the golden vectors, in units of the output.

    Raises:
      RunError: it does not compile, or does not run.
    """
    sources = sorted(folder.rglob("*.c"))
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "check"
        _run([compiler(), *FLAGS, *map(os.fspath, sources), "-o", os.fspath(program)])
        told = _run([os.fspath(program)], good=(0, 1))
    match = re.search(r"largest difference (\d+)", told)
    if match is None:
        raise RunError(f"the C program said {told.strip()!r}.")
    return int(match[1])


def _run(command: list[str], good: tuple[int, ...] = (0,)) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise RunError(f"{Path(command[0]).name} was not done after {SECONDS} seconds.") from error
    if done.returncode not in good:
        raise RunError(
            f"{Path(command[0]).name} failed with {done.returncode}: "
            f"{(done.stderr or done.stdout).strip()[:500]}"
        )
    return done.stdout
