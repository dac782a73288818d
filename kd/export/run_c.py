"""Compiles and runs the C program of an export on this machine."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from kd.errors import InputError, RunError
from kd.export.c_source import PREFIX, prefixed

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


DRIVER = """#include <stdio.h>
#include "kd_model.h"

int main(void) {
    static int8_t in[KD_INPUT_SIZE], out[KD_OUTPUT_SIZE];
    while (fread(in, 1, sizeof in, stdin) == sizeof in) {
        if (kd_invoke(in, out) != 0 || fwrite(out, 1, sizeof out, stdout) != sizeof out) {
            return 1;
        }
    }
    return 0;
}
"""


def sources(directory: Path) -> list[Path]:
    """The C files of an export's network and of its check, without those of its example."""
    return [*sorted(directory.glob("*.c")), *sorted((directory / "kernels").glob("*.c"))]


def outputs(directory: Path, inputs: np.ndarray, classes: int, name: str = PREFIX) -> np.ndarray:
    """Outputs of the C kernels with the prefix `name`, int8 [n, c].

    Raises:
      RunError: they do not compile or do not run.
    """
    files = [p for p in sources(directory) if p.name != f"{name}_check.c"]
    with tempfile.TemporaryDirectory() as scratch:
        driver, program = Path(scratch) / "driver.c", Path(scratch) / "driver"
        driver.write_text(prefixed(DRIVER, name))
        include = f"-I{directory}"
        paths = map(os.fspath, (*files, driver))
        _run([compiler(), *FLAGS, include, *paths, "-o", os.fspath(program)])
        try:
            done = subprocess.run(
                [os.fspath(program)], input=inputs.tobytes(), capture_output=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise RunError(f"the C program did not end within {SECONDS} seconds.") from error
    if done.returncode or len(done.stdout) != len(inputs) * classes:
        raise RunError(f"the C program failed with {done.returncode} on the probes.")
    return np.frombuffer(done.stdout, np.int8).reshape(len(inputs), classes)


def check(directory: Path) -> int:
    """Largest difference from the golden vectors, in units of the output.

    Raises:
      RunError: the program does not compile or does not run.
    """
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "check"
        _run([compiler(), *FLAGS, *map(os.fspath, sources(directory)), "-o", os.fspath(program)])
        output = _run([os.fspath(program)], accepted=(0, 1, 3))
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
