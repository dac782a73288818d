"""The step of KD under each precision, and the time that its convolutions take by themselves: what
no step can be faster than.

The convolutions are those of the traced step, forward and backward, each with its own shapes and
padding, in one program that does nothing else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import Case, Made, Row
from benchmarks.steps import CIFAR, TOY, Problem, Stepper, step_of
from benchmarks.timer import ratio

TITLE = "a step of KD by precision, over float32's, and its convolutions alone over it"
REPEATS = 9

POLICIES = ("float32", "tf32", "bfloat16")

PAIRS = {
    "wrn_40_2 to wrn_16_2": CIFAR,
    "resnet32x4 to resnet8x4": CIFAR._replace(
        teacher={"name": "resnet_cifar.resnet32x4"}, student={"name": "resnet_cifar.resnet8x4"}
    ),
}


def cases(toy: bool) -> Sequence[Case]:
    """Both reference pairs at batch 64. TF32 is float32 where the device has no such thing, as a
    CPU.
    """
    pairs: Mapping[str, Problem] = {"toy": TOY} if toy else PAIRS
    cpu = jax.default_backend() == "cpu"
    policies = tuple(p for p in POLICIES if not (cpu and p == "tf32"))
    return [Case(name, partial(_make, problem, policies)) for name, problem in pairs.items()]


def _make(problem: Problem, policies: Sequence[str]) -> Made:
    parts: dict[str, Callable[[], Any]] = {}
    operations = 0.0
    for policy in policies:
        step = step_of("kd", problem, policy=policy)
        alone, operations = convolutions(step)
        parts |= {policy: step, f"{policy}, convolutions": alone}
    facts = {"operations": operations, "batch": problem.batch_size}
    return Made(parts, {**facts, "platform": jax.default_backend()})


def convolutions(step: Stepper) -> tuple[Callable[[], Any], float]:
    """A program of the step's convolutions alone, and how many multiplications and additions they
    are.
    """
    traced = jax.make_jaxpr(step.step)(step.state, step.frozen, step.batch).jaxpr
    found = list(_found(traced))
    rng = np.random.default_rng(0)
    large: dict[Any, jax.Array] = {}

    def operands(equation: Any) -> tuple[jax.Array, jax.Array]:
        """The smaller one is each equation's own, so that the compiler does not take two for
        one.
        """
        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
        draw = lambda s: jnp.asarray(rng.standard_normal(s.shape, np.float32), s.dtype)
        own = min((0, 1), key=lambda i: shapes[i].size)
        other = shapes[1 - own]
        key = other.shape, str(other.dtype)
        if key not in large:
            large[key] = draw(other)
        pair = {own: draw(shapes[own]), 1 - own: large[key]}
        return pair[0], pair[1]

    given = [operands(equation) for equation in found]

    def program(given: list[tuple[jax.Array, jax.Array]]) -> list[jax.Array]:
        return [
            jax.lax.conv_general_dilated_p.bind(*pair, **equation.params)
            for pair, equation in zip(given, found, strict=True)
        ]

    compiled = jax.jit(program).lower(given).compile()
    count = sum(_operations(equation) for equation in found)
    return partial(compiled, given), count


def _found(jaxpr: Any) -> Iterator[Any]:
    """The convolutions of a program and of those within it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _found(inner)


def _operations(equation: Any) -> float:
    """Two for each number of the result and each of the kernel that it is made of; what only meets
    padding counts, too.
    """
    kernel = equation.invars[1].aval
    out_channels = equation.params["dimension_numbers"].rhs_spec[0]
    each = kernel.size / kernel.shape[out_channels]
    return 2.0 * equation.outvars[0].aval.size * each


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Ratios as median [smallest, largest] of the rounds; on a GPU images and operations a second
    at the quickest, too.
    """
    gpu = bool(rows) and all(row["platform"] == "gpu" for row in rows)
    head = ["pair", "precision", "step over float32's", "convolutions alone over the step"]
    more = ["images/s", "ceiling, images/s", "ceiling, TFLOP/s"]
    lines = [head + more * gpu]
    for row in rows:
        seconds = row["seconds"]
        for policy in (p for p in POLICIES if p in seconds):
            step, alone = seconds[policy], seconds[f"{policy}, convolutions"]
            cells = [str(ratio(step, seconds["float32"])), str(ratio(alone, step))]
            if gpu:
                rates = row["batch"] / min(step), row["batch"] / min(alone)
                speed = row["operations"] / min(alone) / 1e12
                cells += [*(f"{rate:,.0f}" for rate in rates), f"{speed:.1f}"]
            lines.append([row["case"], policy, *cells])
    return lines
