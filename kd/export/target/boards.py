"""Processors that the C program can be compiled for, and the boards on which QEMU runs them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kd.errors import InputError, unknown

APT = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "newlib": "libnewlib-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}
"""Debian's and Ubuntu's package of each tool."""


class Board(NamedTuple):
    """A board of QEMU.

    Attributes:
      cpu: name of the processor for the compiler, such as "cortex-m4".
      machine: name of the board for QEMU.
      flash: bytes for code and constants.
      ram: bytes for data and stack.
    """

    cpu: str
    machine: str
    flash: int = 4 << 20
    ram: int = 4 << 20


BOARDS = {
    "cortex-m3": Board("cortex-m3", "mps2-an385"),
    "cortex-m4": Board("cortex-m4", "mps2-an386"),
    "cortex-m7": Board("cortex-m7", "mps2-an500"),
}
"""By the name of the processor."""


def board(name: str) -> Board:
    """The board with a processor. Raises InputError for an unknown one."""
    if name not in BOARDS:
        raise unknown("target", name, BOARDS)
    return BOARDS[name]


def require(missing: list[str], purpose: str) -> None:
    """Raises InputError, with the line that installs them, where tools are missing."""
    if missing:
        packages = " ".join(APT[name] for name in missing)
        raise InputError(
            f"{purpose} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            f"not installed here. On Debian and Ubuntu: apt-get install {packages}"
        )


def summary(measured: Mapping[str, Any]) -> str:
    """The entry `target` of `report.json` in one line."""
    flash, ram = measured["flash"], measured["ram"]
    text = (
        f"{measured['cpu']}: flash {flash['total']:,} bytes ({flash['code']:,} of code, "
        f"{flash['constants']:,} of constants, {flash['runtime']:,} of the compiler's library), "
        f"RAM {ram:,} bytes and stack of {_stack(measured)}"
    )
    if "ran" not in measured:
        return f"{text}; compiled, not run"
    ran = measured["ran"]
    return (
        f"{text}; in QEMU ({measured['machine']}) {ran['instructions']:,} instructions an "
        f"inference, which are not cycles, and {ran['vectors'] + ran['probes']} of the outputs "
        f"compared with this machine's, largest difference {ran['lsb']}"
    )


def _stack(measured: Mapping[str, Any]) -> str:
    bound, missing = measured["stack_bound"], measured["stack_unknown"]
    words = f"at most {bound:,} by the compiler's figures"
    if bound is None:
        words = "a size that the compiler cannot bound"
    elif missing:
        words += f" without {', '.join(missing)}"
    return f"{measured['ran']['stack']:,} bytes, {words}" if "ran" in measured else words
