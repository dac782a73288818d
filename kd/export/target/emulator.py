"""Runs a program of `build` in QEMU, and reads what it measured.

QEMU counts instructions (`-icount shift=0`: each takes a nanosecond of the board's time), it does
not model a pipeline: these are not cycles.
"""

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int8

from kd.errors import RunError
from kd.export.target import tools
from kd.export.target.boards import Board

SECONDS = 600
LOOP = re.compile(r"^loop (\d+) (\d+)$", re.MULTILINE)
VECTOR = re.compile(r"^vector (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)
PAINTED = 65536  # PAINT of measure.c


class Measured(NamedTuple):
    """What the program did.

    Attributes:
      outputs: of all vectors, int8 [n, c].
      instructions: mean of an inference over the timed vectors, its call not counted.
      stack: bytes below the caller's frame that an inference used, the most of the timed vectors.
    """

    outputs: Int8[np.ndarray, "n c"]
    instructions: int
    stack: int


def run(
    elf: Path,
    inputs: Int8[np.ndarray, "n ..."],
    classes: int,
    board: Board,
    seconds: float = SECONDS,
) -> Measured:
    """Runs a program beside its file.

    Args:
      elf: the program; its directory gets the files `inputs.bin` and `outputs.bin`.
      inputs: the vectors.
      classes: numbers that the program writes for each.
      board: where it runs.
      seconds: after which it is stopped.

    Raises:
      RunError: it faults, does not end, or does not do its work; with its last lines.
    """
    folder = elf.parent
    (folder / "inputs.bin").write_bytes(inputs.tobytes())
    command = [tools.EMULATOR, "-M", board.machine, "-kernel", str(elf), "-icount", "shift=0"]
    command += ["-display", "none", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(board, f"did not end within {seconds:zg} seconds", error.stdout) from error
    if done.returncode:
        raise _failed(board, f"ended with {done.returncode}", done.stdout)
    printed = done.stdout.decode(errors="replace")
    written = (folder / "outputs.bin").read_bytes()
    if not printed.endswith("done\n") or len(written) != len(inputs) * classes:
        raise _failed(board, f"wrote {len(written):,} bytes of outputs", done.stdout)
    outputs = np.frombuffer(written, np.int8).reshape(len(inputs), classes)
    return Measured(outputs, **_measured(board, printed))


def _measured(board: Board, printed: str) -> dict[str, Any]:
    loop, vectors = LOOP.search(printed), VECTOR.findall(printed)
    if loop is None or not int(loop[2]) or not vectors:
        raise _failed(board, "measured nothing", printed.encode())
    a_tick = int(loop[1]) / int(loop[2])
    rows = np.array(vectors, float)
    repeats, network, nothing, depth = rows.T
    instructions = a_tick * (network - nothing) / repeats
    if depth.max() >= PAINTED:
        raise _failed(board, f"used more than {PAINTED:,} bytes of stack", printed.encode())
    return {"instructions": round(float(instructions.mean())), "stack": int(depth.max())}


def _failed(board: Board, what: str, printed: bytes | None) -> RunError:
    lines = (printed or b"").decode(errors="replace").splitlines()[-5:]
    last = "; its last lines: " + " / ".join(lines) if lines else "; it printed nothing"
    return RunError(f"the program in QEMU ({board.machine}, {board.cpu}) {what}{last}")
