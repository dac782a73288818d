"""Where the time of a KD step goes, in kd and in PyTorch: operations by kind, from profilers."""

import gzip
import importlib.util
import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import jax

from benchmarks import libraries
from benchmarks.pytorch import PAIRS, Form
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import TOY, Problem, Stepper, step_of
from kd.convolutions import library as onednn

TITLE = "milliseconds of the operations in a step of KD, by kind"
REPEATS = 5

STEPS = 7
"""Updates in the trace."""

INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = \S+ ([\w-]+)\((.*)$")
INNER = ("convolution", "dot")
AROUND = ("call", "while", "conditional")
"""Operations that contain others, and whose time is theirs."""


KINDS = (
    "convolutions, forward",
    "convolutions, gradients",
    "matrix products",
    "copies and changes of layout",
    "elementwise and reductions",
)
PYTORCH = "PyTorch, fastest"


def cases(toy: bool) -> Sequence[Case]:
    """The pairs of `benchmarks.pytorch`; PyTorch's column only where it is installed."""
    pairs = {"toy": (TOY, "", "")} if toy else PAIRS
    return [Case(name, partial(_make, *pair)) for name, pair in pairs.items()]


def _make(problem: Problem, big: str, small: str) -> Prepared:
    spent, parts = {}, {}
    for library in libraries.available():
        with libraries.using(library):
            parts[library] = step_of("kd", problem)
        spent[f"kd, {libraries.NAMES[library]}"] = traced(parts[library])
    if big and importlib.util.find_spec("torch"):
        parts[PYTORCH] = Form(problem, big, small, compiled=True)
        spent[PYTORCH] = traced_by_pytorch(parts[PYTORCH])
    return Prepared(parts, {"microseconds": spent, "steps": STEPS})


def traced(step: Stepper) -> dict[str, float]:
    """Microseconds of a step by kind of operation."""
    jax.block_until_ready(step())
    with tempfile.TemporaryDirectory(prefix="kd-trace-") as directory:
        with jax.profiler.trace(directory, create_perfetto_trace=True):
            for _ in range(STEPS):
                jax.block_until_ready(step())
        (file,) = Path(directory).glob("plugins/profile/*/perfetto_trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    return by_kind(events, kinds(step.compiled.as_text()))


def traced_by_pytorch(form: Form) -> dict[str, float]:
    """Microseconds of a step by kind of operation, each without those that it calls."""
    from torch.profiler import ProfilerActivity, profile

    for _ in range(2):
        form()
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        for _ in range(STEPS):
            form()
    spent = dict.fromkeys(KINDS, 0.0)
    for event in trace.key_averages():
        spent[kind_in_pytorch(event.key)] += event.self_cpu_time_total / STEPS
    return spent


def kind_in_pytorch(name: str) -> str:
    """Kind of an operation of PyTorch."""
    name = name.rpartition(":")[2]
    if "conv" in name:
        return f"convolutions, {'gradients' if 'backward' in name else 'forward'}"
    if re.search(r"mm|linear", name):
        return "matrix products"
    if re.search(r"copy|clone|contiguous|reorder", name):
        return "copies and changes of layout"
    return "elementwise and reductions"


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
    if f'custom_call_target="{onednn.TARGET}"' in rest:
        return "convolutions, gradients" if "transpose(" in path else "convolutions, forward"
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
    """Milliseconds of a step, a column for each program, and their sum."""
    programs = list(dict.fromkeys(name for row in rows for name in row["microseconds"]))
    lines = [["step", "operations", *programs]]
    for row in rows:
        spent = row["microseconds"]
        for kind in KINDS:
            cells = (f"{spent[p].get(kind, 0.0) / 1e3:.0f}" if p in spent else "" for p in programs)
            lines.append([row["case"], kind, *cells])
        sums = (f"{sum(spent[p].values()) / 1e3:.0f}" if p in spent else "" for p in programs)
        lines.append([row["case"], "sum", *sums])
    return lines
