"""KD of five students in one program, as a run does it: by precision, over seeds, over updates.

    uv run python -m benchmarks throughput

For accelerators: what `config.precision`, `config.seeds_how` and `config.loop` should be there. The
cases come in the order of their worth, each row is kept as soon as it is measured.
"""

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import libraries
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import CIFAR, TOY, Problem, step_of
from benchmarks.timer import ratio
from kd.convolutions.lowering import compiled_by
from kd.train.program import make_update, make_updates

TITLE = "KD of several students in one program (wrn_40_2 to wrn_16_2, batch 64)"
REPEATS = 7

SEEDS, UPDATES = 5, 64
"""Students, and updates in a dispatch: the default of `config.steps_per_call`."""

FORMS = (
    ("bfloat16", "vmap", "device"),
    ("bfloat16", "unroll", "device"),
    ("bfloat16", "vmap", "host"),
    ("bfloat16", "PyTorch", "graph"),
    ("default", "vmap", "device"),
    ("default", "PyTorch", "graph"),
)
"""Precision, how seeds are computed, where the loop over updates is. PyTorch's fastest form is one
student, compiled into a CUDA graph; by default it may multiply in TF32, as `kd` does.
"""


def cases(toy: bool) -> Sequence[Case]:
    """The forms, PyTorch's where it is installed; toy ones have two students and two updates."""
    problem, seeds, updates = (TOY, 2, 2) if toy else (CIFAR, SEEDS, UPDATES)
    forms = FORMS if importlib.util.find_spec("torch") else [f for f in FORMS if f[1] != "PyTorch"]
    return [
        Case(", ".join(form), partial(_make, problem, seeds, updates, toy, *form)) for form in forms
    ]


def _make(
    problem: Problem, seeds: int, updates: int, toy: bool, precision: str, how: str, loop: str
) -> Prepared:
    facts: dict[str, Any] = {"precision": precision, "seeds_how": how, "loop": loop}
    facts |= {"updates": updates, "batch": problem.batch_size, "platform": jax.default_backend()}
    if how == "PyTorch":
        return Prepared({"time": _torch(precision, updates, toy)}, {**facts, "seeds": 1})
    part = dispatch(problem, seeds, updates, precision, how, loop)
    return Prepared({"time": part}, {**facts, "seeds": seeds})


def _torch(precision: str, updates: int, toy: bool) -> Callable[[], None]:
    """So many updates of one student in PyTorch's fastest form."""
    import torch

    from benchmarks.pytorch import PAIRS, TOY, Form

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    pair = TOY["toy"] if toy else PAIRS["wrn_40_2 to wrn_16_2"]
    mode = "reduce-overhead" if torch.cuda.is_available() else "default"
    form = Form(*pair, compiled=not toy, half=precision == "bfloat16", mode=mode)

    def call() -> None:
        for _ in range(updates):
            form()

    call()  # compiles, and records the graph
    return call


def dispatch(
    problem: Problem, seeds: int, updates: int, precision: str, how: str, loop: str
) -> Callable[[], Any]:
    """One dispatch of so many updates of all students, each from its images on the device."""
    single = step_of("kd", problem, policy=precision, compiles=False)
    size = problem.batch_size
    states = jax.tree.map(lambda x: jnp.stack([x] * seeds), single.state)
    order = jnp.tile(jnp.arange(size)[None], (seeds, updates))
    data = {name: single.batch[name] for name in ("image", "label")}
    program = make_updates(make_update(single.step, size, how), size, updates, loop)
    program = compiled_by(libraries.current(), program)

    def call() -> Any:
        nonlocal states
        numbers = jnp.int32(0), jnp.int32(0), jnp.int32(updates)
        states, logs = program(states, single.frozen, data, order, *numbers)
        return states, logs

    return call


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Milliseconds of an update of one student, images a second, and its time over the first
    form's.
    """
    lines = [["precision", "seeds", "loop", "ms a student", "images/s", "over the first"]]
    each = [[s / row["updates"] / row["seeds"] for s in row["seconds"]["time"]] for row in rows]
    for row, seconds in zip(rows, each, strict=True):
        best = min(seconds)
        form = [row["precision"], f"{row['seeds']}, {row['seeds_how']}", row["loop"]]
        cells = [f"{1000 * best:.3g}", f"{row['batch'] / best:,.0f}", str(ratio(seconds, each[0]))]
        lines.append([*form, *cells])
    return lines
