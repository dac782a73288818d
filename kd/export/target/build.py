"""Compiles the C program of an export for a processor, and measures it."""

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from kd.errors import InputError, RunError
from kd.export.target import stack, tools
from kd.export.target.boards import Board

HERE = Path(__file__).parent
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-ffunction-sections", "-fdata-sections")
GRAPHS = ("-fstack-usage", "-fcallgraph-info=su")
HARNESS = ("-ffreestanding", "-fno-tree-loop-distribute-patterns")
"""So that no function of a library is called by what measures the network."""

SECONDS = 600
PLACED = re.compile(r"^ (\.[^\s]+|COMMON)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+(\S.*)$", re.MULTILINE)
"""A section of an object in the linker's map: name, size, file."""

OVERFLOW = re.compile(r"region `(\w+)' overflowed by (\d+) bytes")


class Sizes(NamedTuple):
    """What the network takes, in bytes.

    Attributes:
      code: instructions of its kernels.
      constants: weights and other read-only data.
      initial: first values of variables, copied to RAM at the start.
      runtime: instructions and constants of the compiler's runtime libraries that the kernels call.
      ram: variables, most of them the arena.
    """

    code: int
    constants: int
    initial: int
    runtime: int
    ram: int

    @property
    def flash(self) -> int:
        """Bytes of flash."""
        return self.code + self.constants + self.initial + self.runtime


class Program(NamedTuple):
    """A program for a board that runs a network on vectors of a file; see `measure.c`."""

    elf: Path
    sizes: Sizes
    stack: stack.Bound

    def report(self, board: Board, emulator: bool) -> dict[str, Any]:
        """The entry `target` of `report.json`."""
        sizes = self.sizes
        parts = {key: value for key, value in sizes._asdict().items() if key != "ram"}
        return {
            "cpu": board.cpu,
            "machine": board.machine,
            **tools.versions(emulator),
            "flags": [*_cpu(board), *FLAGS],
            "flash": {**parts, "total": sizes.flash},
            "ram": sizes.ram,
            "stack_bound": self.stack.bytes,
            "stack_unknown": self.stack.unknown,
        }


def build(
    sources: list[Path], function: str, ends: tuple[int, int], board: Board, timed: int, into: Path
) -> Program:
    """Compiles and links the network with what measures it.

    Args:
      sources: C files of the network.
      function: its function, such as "kd_invoke".
      ends: bytes of its input and of its output.
      board: what to compile for.
      timed: vectors whose instructions are counted, the first ones.
      into: an existing directory for the files of the compiler.

    Raises:
      InputError: it does not fit the board's memory.
      RunError: it does not compile.
    """
    objects, graphs = [], []
    for number, source in enumerate(sources):
        objects.append(into / f"network{number}.o")
        graphs.append(into / f"network{number}.ci")
        _compile(board, source, objects[-1], GRAPHS)
    defined = {
        "INVOKE": function,
        "INPUT_SIZE": ends[0],
        "OUTPUT_SIZE": ends[1],
        "TIMED": timed,
    }
    for name in ("start", "measure"):
        flags = (*HARNESS, *(f"-D{key}={value}" for key, value in defined.items()))
        objects.append(into / f"{name}.o")
        _compile(board, HERE / f"{name}.c", objects[-1], flags)
    script, map_file, elf = into / "board.ld", into / "program.map", into / "program.elf"
    script.write_text(memory((HERE / "mps2.ld").read_text(), board))
    command = [tools.COMPILER, *_cpu(board), *map(str, objects), "-o", str(elf), f"-T{script}"]
    command += ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", f"-Wl,-Map={map_file}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if over := OVERFLOW.findall(done.stderr):
        have = {"FLASH": board.flash, "RAM": board.ram}
        words = " and ".join(
            f"{int(extra):,} bytes too many for {have[region]:,} bytes of {region}"
            for region, extra in over
        )
        raise InputError(
            f"the network does not fit the memory of {board.machine} ({board.cpu}): {words}. "
            "Export a smaller network, or leave --target out."
        )
    if done.returncode:
        raise _failed("link", board, done.stderr)
    return Program(elf, _sizes(map_file.read_text(), into), stack.bound(graphs, function))


def memory(script: str, board: Board) -> str:
    """The linker script with the sizes of a board's memory."""
    sizes = iter((board.flash, board.ram))
    return re.sub(r"LENGTH = \w+", lambda match: f"LENGTH = {next(sizes)}", script)


def _cpu(board: Board) -> tuple[str, ...]:
    return f"-mcpu={board.cpu}", "-mthumb", "-mfloat-abi=soft"


def _compile(board: Board, source: Path, target: Path, flags: tuple[str, ...]) -> None:
    command = [tools.COMPILER, *_cpu(board), *FLAGS, *flags, "-c", str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise _failed("compile", board, done.stderr)


def _failed(what: str, board: Board, printed: str) -> RunError:
    lines = printed.strip().splitlines()
    errors = [line for line in lines if "error" in line] or lines
    words = " / ".join(errors[:3])[:500]
    return RunError(f"the C program does not {what} for {board.cpu}: {words}")


def _sizes(text: str, into: Path) -> Sizes:
    """Sizes of the network and of the libraries that it calls, from the linker's map."""
    placed = text.partition("Linker script and memory map")[2]
    counts: Counter[str] = Counter()
    for name, size, file in PLACED.findall(placed):
        harness = file.startswith(str(into)) and not Path(file).name.startswith("network")
        if int(size, 16) == 0 or harness:
            continue
        runtime = not file.startswith(str(into))
        kind = name.removeprefix(".").partition(".")[0]
        key = {"text": "code", "rodata": "constants", "data": "initial"}.get(kind)
        if key in ("code", "constants") and runtime:
            key = "runtime"
        if key:
            counts[key] += int(size, 16)
        if kind in ("data", "bss", "COMMON"):
            counts["ram"] += int(size, 16)
    return Sizes(**{field: counts[field] for field in Sizes._fields})
