"""Where the time of a KD step goes: its operations by kind, from a trace as `config.profile` writes it."""

import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import jax

from benchmarks.record import Case, Made, Row
from benchmarks.steps import CIFAR, TOY, Problem, step_of

TITLE = "share of the operations' time in a step of KD, by kind"
REPEATS = 5

STEPS = 3
"""Updates in the trace."""

INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = \S+ ([\w-]+)\((.*)$")
AROUND = ("call", "while", "conditional")
"""Operations whose time is that of others, within them."""


def cases(toy: bool) -> Sequence[Case]:
    """The reference pair at batch 64."""
    name, problem = ("toy", TOY) if toy else ("wrn_40_2 to wrn_16_2", CIFAR)
    return [Case(name, partial(_make, problem))]


def _make(problem: Problem) -> Made:
    step = step_of("kd", problem)
    jax.block_until_ready(step())
    with tempfile.TemporaryDirectory(prefix="kd-trace-") as directory:
        with jax.profiler.trace(directory, create_perfetto_trace=True):
            for _ in range(STEPS):
                jax.block_until_ready(step())
        (file,) = Path(directory).glob("plugins/profile/*/perfetto_trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    spent = by_kind(events, kinds(step.compiled.as_text()))
    return Made({"step": step}, {"microseconds": spent, "steps": STEPS})


def kinds(program: str) -> dict[str, str]:
    """Kind of each instruction of a compiled program, from its text; without those that only hold others."""
    found = {}
    for line in program.splitlines():
        match = INSTRUCTION.match(line)
        if match and match[2] not in AROUND:
            found[match[1]] = _kind(match[1], match[2], match[3])
    return found


def _kind(name: str, opcode: str, rest: str) -> str:
    source = re.search(r'op_name="([^"]*)"', rest)
    path = source[1] if source else ""
    if opcode in ("copy", "transpose") or re.match(r"(transpose_)?copy", name):
        return "copies and changes of layout"
    if opcode == "convolution" or path.endswith("conv_general_dilated"):
        # XLA loses the origin of those that are kernels' gradients.
        backward = "transpose(jvp" in path or not path
        return "convolutions, gradients" if backward else "convolutions, forward"
    if opcode == "dot" or path.endswith("dot_general"):
        return "matrix products"
    return "elementwise and reductions"


def by_kind(events: Sequence[Mapping], kinds: Mapping[str, str]) -> dict[str, float]:
    """Microseconds of a trace's events by kind of operation; events that are no operation of the program are left out."""
    spent: Counter[str] = Counter()
    for event in events:
        name = event.get("args", {}).get("hlo_op")
        if event.get("ph") == "X" and name in kinds:
            spent[kinds[name]] += event["dur"]
    return dict(spent.most_common())


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Percent of the sum over all operations."""
    lines = [["step", "operations", "share"]]
    for row in rows:
        total = sum(row["microseconds"].values())
        for kind, spent in row["microseconds"].items():
            lines.append([row["case"], kind, f"{100 * spent / total:.0f} %"])
    return lines
