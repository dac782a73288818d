"""What each piece of work of `gpu.sh` takes, from stated assumptions, and what fits into a time.

    python3 experiments/launch/budget.py                       # the table, at 1, 2 and 3 ms a step
    python3 experiments/launch/budget.py --choose RESULTS      # the fastest form, and its epochs

A step is one update of all five students by KD in one program. Needs Python alone.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import NamedTuple

CALL = 345.0
"""Seconds of a call: six minutes less what it takes to begin and to save."""

STEPS = 782
"""Updates of an epoch: 50,000 images in batches of 64."""

START, COMPILE, READ, EVALUATE, SAVE = 8.0, 40.0, 6.0, 0.4, 3.0
"""Assumed seconds: of a process until its first program; of compilation, with the choice of
kernels, for each program of five students; of reading the images; of an evaluation; of writing a
checkpoint and the results.
"""

UNPACK = 40.0
"""Assumed seconds to make the arrays of CIFAR-100 from what was carried to the machine."""

TORCH_COMPILE = 60.0
"""Assumed seconds of `torch.compile` for each of its forms."""

RELATIVE = {"teacher": 0.5, "labels": 0.5, "kd": 1.0, "crd": 1.5}
"""Assumed time of a step over that of five students by KD. The teacher is one network with three
times the multiplications of a student; labels need no teacher; CRD has a memory.
"""

DISPATCHES, UPDATES = 8, 64
"""Of each form of the benchmark `throughput`: dispatches, with the untimed one; updates in each."""

UNROLLED, SINGLE, PLAIN = 2.0, 0.2, 2.0
"""Assumed: the compilation of five students unrolled over that of vmap; a step of one student, and
one without bfloat16, over five in bfloat16.
"""

FEWEST, MOST = 5, 240
"""Epochs: with fewer the schedule says nothing, and the recipe has no more."""


class Piece(NamedTuple):
    """A piece of work.

    Attributes:
      name: what it is.
      call: the call that it belongs to.
      fixed: seconds that do not depend on the step.
      steps: as many steps of KD as it takes.
      spare: whether it is left for the time that remains.
    """

    name: str
    call: int
    fixed: float
    steps: float
    spare: bool = False


def measurements() -> list[Piece]:
    """The pieces of the first call, in the order of their worth."""
    n = DISPATCHES * UPDATES
    return [
        Piece("five seeds by vmap, loop on the device, bfloat16", 1, START + COMPILE, n),
        Piece("five seeds by unroll", 1, UNROLLED * COMPILE, n),
        Piece("five seeds by vmap, loop on the host", 1, COMPILE, n),
        Piece("PyTorch's fastest form, bfloat16", 1, TORCH_COMPILE, SINGLE * n),
        Piece("vmap without command buffers", 1, START + COMPILE, n),
        Piece("vmap with all command buffers", 1, START + COMPILE, n),
        Piece("vmap without bfloat16", 1, START + COMPILE, PLAIN * n, spare=True),
        Piece("PyTorch's fastest form, TF32", 1, TORCH_COMPILE, PLAIN * SINGLE * n, spare=True),
        # Of one student: the step and its convolutions in three precisions.
        Piece("ceiling", 1, START + 6 * COMPILE, 10 * 6 * SINGLE, spare=True),
    ]


def trainings(epochs: int) -> list[Piece]:
    """The pieces of the second call, the most valuable first."""
    fixed = START + COMPILE + READ + SAVE + EVALUATE * epochs
    names = {
        "teacher": "teacher wrn_40_2, one seed",
        "labels": "wrn_16_2 from labels, five seeds",
        "kd": "wrn_16_2 by KD, five seeds",
        "crd": "wrn_16_2 by CRD, five seeds",
    }
    runs = [
        Piece(f"{names[kind]}, {epochs} epochs", 2, fixed, relative * epochs * STEPS)
        for kind, relative in RELATIVE.items()
    ]
    first = Piece("the images, unpacked", 2, UNPACK, 0.0)
    return [first, *runs, Piece("the table, published", 2, 2 * START, 0.0)]


def seconds(piece: Piece, ms: float) -> float:
    """Seconds of a piece where a step takes so many milliseconds."""
    return piece.fixed + piece.steps * ms / 1000


def most_epochs(ms: float, available: float) -> int:
    """The most epochs with which teacher, labels, KD and CRD fit into the time; at least FEWEST."""
    at = lambda epochs: sum(seconds(piece, ms) for piece in trainings(epochs))
    slope = at(1) - at(0)
    return min(MOST, max(FEWEST, math.floor((available - at(0)) / slope)))


def table(available: float = CALL) -> str:
    """The budget at 1, 2 and 3 ms a step, as Markdown."""
    speeds = (1.0, 2.0, 3.0)
    lines = [
        "| call | piece | " + " | ".join(f"{ms:.0f} ms" for ms in speeds) + " |",
        "| ---: | --- |" + " ---: |" * len(speeds),
    ]
    plans = [[*measurements(), *trainings(most_epochs(ms, available))] for ms in speeds]
    for row in zip(*plans, strict=True):
        name = row[0].name
        if len({piece.name for piece in row}) > 1:
            epochs = [piece.name.rpartition(", ")[2].removesuffix(" epochs") for piece in row]
            name = f"{name.rpartition(', ')[0]}; {', '.join(epochs)} epochs"
        name += " (if time is left)" if row[0].spare else ""
        times = [f"{seconds(piece, ms):.0f} s" for piece, ms in zip(row, speeds, strict=True)]
        lines.append(f"| {row[0].call} | {name} | " + " | ".join(times) + " |")
    for call in (1, 2):
        sums = [
            sum(seconds(piece, ms) for piece in plan if piece.call == call and not piece.spare)
            for plan, ms in zip(plans, speeds, strict=True)
        ]
        cells = " | ".join(f"{total:.0f} s" for total in sums)
        lines.append(f"| {call} | sum of call {call}, of {available:.0f} s | {cells} |")
    return "\n".join(lines)


def choose(results: Path, available: float) -> tuple[str, str]:
    """The arguments of `experiments/quarter_hour.py`, and a flag of XLA.

    Of the measured forms the fastest, and the epochs that it leaves time for; without measurements
    bfloat16 at 3 ms a step. A flag is in a file `flag` beside what was measured with it.
    """
    rows = [(row, "") for row in _rows(results)]
    for folder in sorted(results.glob("*/")):
        rows += [(row, (folder / "flag").read_text().strip()) for row in _rows(folder)]
    if not rows:
        return f"precision=bfloat16,epochs={most_epochs(3.0, available)}", ""
    ms = lambda row: 1000 * min(row["seconds"]["time"]) / row["updates"]
    best, flag = min(rows, key=lambda pair: ms(pair[0]))
    form = f"precision={best['precision']}," if best["precision"] != "default" else ""
    form += f"how={best['seeds_how']},loop={best['loop']}"
    return f"{form},epochs={most_epochs(ms(best), available)}", flag


def _rows(folder: Path) -> list[dict]:
    """Measured rows of kd's forms."""
    file = folder / "throughput.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    return [row for row in rows if row["seeds_how"] != "PyTorch"]


def main() -> None:
    """Prints the table, or the choice."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=CALL, help="of a call (default: 345)")
    parser.add_argument(
        "--choose", type=Path, metavar="RESULTS", help="directory of throughput.json"
    )
    options = parser.parse_args()
    if options.choose:
        text = "\n".join(choose(options.choose, options.seconds))
    else:
        text = table(options.seconds)
    sys.stdout.write(text.rstrip() + "\n")


if __name__ == "__main__":
    main()
