"""Where the time of a KD step goes: its operations by kind, from a profiler trace."""

import gzip
import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import jax

from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import CIFAR, TOY, Problem, step_of

TITLE = "share of the operations' time in a step of KD, by kind"
REPEATS = 5

STEPS = 7
"""Updates in the trace."""

INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = \S+ ([\w-]+)\((.*)$")
INNER = ("convolution", "dot")
AROUND = ("call", "while", "conditional")
"""Operations that contain others, and whose time is theirs."""


def cases(toy: bool) -> Sequence[Case]:
    """The reference pair with batches of 64."""
    name, problem = ("toy", TOY) if toy else ("wrn_40_2 to wrn_16_2", CIFAR)
    return [Case(name, partial(_make, problem))]


def _make(problem: Problem) -> Prepared:
    step = step_of("kd", problem)
    jax.block_until_ready(step())
    with tempfile.TemporaryDirectory(prefix="kd-trace-") as directory:
        with jax.profiler.trace(directory, create_perfetto_trace=True):
            for _ in range(STEPS):
                jax.block_until_ready(step())
        (file,) = Path(directory).glob("plugins/profile/*/perfetto_trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    spent = by_kind(events, kinds(step.compiled.as_text()))
    return Prepared({"step": step}, {"microseconds": spent, "steps": STEPS})


def kinds(program: str) -> dict[str, str]:
    """Kind of each instruction of a compiled program, from its text, except those in AROUND."""
    # Computations that fusions call -> an operation of INNER, if they have one.
    inner: dict[str, str] = {}
    current, kind_of = "", {}
    for line in program.splitlines():
        if line.endswith("{") and (begins := re.match(r"(?:ENTRY )?%?([\w.-]+) ", line)):
            current = begins[1]
        match = INSTRUCTION.match(line)
        if not match or match[2] in AROUND:
            continue
        name, opcode, rest = match.groups()
        if opcode in INNER:
            inner[current] = opcode
        if opcode == "fusion" and (called := re.search(r"calls=%?([\w.-]+)", rest)):
            opcode = inner.get(called[1], opcode)
        kind_of[name] = _kind(name, opcode, rest)
    return kind_of


def _kind(name: str, opcode: str, rest: str) -> str:
    source = re.search(r'op_name="([^"]*)"', rest)
    path = source[1] if source else ""
    if opcode in ("copy", "transpose") or re.match(r"(transpose_)?copy", name):
        return "copies and changes of layout"
    if opcode == "convolution" or path.endswith("conv_general_dilated"):
        # XLA drops the origin of kernels' gradients.
        backward = "transpose(jvp" in path or not path
        return "convolutions, gradients" if backward else "convolutions, forward"
    if opcode == "dot" or path.endswith("dot_general"):
        return "matrix products"
    return "elementwise and reductions"


def by_kind(events: Sequence[Mapping], kinds: Mapping[str, str]) -> dict[str, float]:
    """Microseconds of a program's operations by kind, from each operation's fastest step.

    Other work on the machine can make a single operation appear a hundred times slower.
    """
    fastest: dict[str, float] = {}
    for event in events:
        name = event.get("args", {}).get("hlo_op")
        if event.get("ph") == "X" and name in kinds:
            fastest[name] = min(event["dur"], fastest.get(name, math.inf))
    spent = dict.fromkeys((kinds[name] for name in fastest), 0.0)
    for name, duration in fastest.items():
        spent[kinds[name]] += duration
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Percent of the sum over all operations."""
    lines = [["step", "operations", "share"]]
    for row in rows:
        total = sum(row["microseconds"].values())
        for kind, spent in row["microseconds"].items():
            lines.append([row["case"], kind, f"{100 * spent / total:.0f} %"])
    return lines
