"""The tools for targets: a cross-compiler with newlib, and QEMU."""

import shutil
import subprocess
from pathlib import Path

from kd.errors import RunError
from kd.export.target.boards import require

COMPILER = "arm-none-eabi-gcc"
EMULATOR = "qemu-system-arm"


def missing(emulator: bool) -> list[str]:
    """The tools that are not installed, by the keys of `boards.APT`."""
    names = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
    if not emulator and EMULATOR in names:
        names.remove(EMULATOR)
    if COMPILER not in names and not _specs().is_absolute():
        names.append("newlib")
    return names


def check(purpose: str, emulator: bool) -> None:
    """Raises InputError, with the line that installs them, where tools are missing."""
    require(missing(emulator), purpose)


def versions(emulator: bool) -> dict[str, str]:
    """The first line that each tool prints about its version."""
    known = {"compiler": f"{COMPILER} {_first([COMPILER, '-dumpfullversion'])}"}
    if emulator:
        known["emulator"] = _first([EMULATOR, "--version"])
    return known


def _specs() -> Path:
    """Where newlib's linker options are; without newlib the compiler prints the mere name."""
    return Path(_first([COMPILER, "-print-file-name=nano.specs"]))


def _first(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RunError(f"{Path(command[0]).name} failed with {done.returncode}: {done.stderr}")
    return done.stdout.partition("\n")[0].strip()
