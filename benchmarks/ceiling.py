"""The step of KD by precision, and its convolutions alone: the lower bound of the step's time.

The convolutions are those of the traced step, forward and backward, with their shapes and padding,
in a program of their own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import libraries
from benchmarks.record import Case, Prepared, Row
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
    """Both reference pairs with batches of 64. TF32 is left out on CPUs, which do not have it."""
    pairs: Mapping[str, Problem] = {"toy": TOY} if toy else PAIRS
    cpu = jax.default_backend() == "cpu"
    policies = tuple(p for p in POLICIES if not (cpu and p == "tf32"))
    return [Case(name, partial(_make, problem, policies)) for name, problem in pairs.items()]


def _make(problem: Problem, policies: Sequence[str]) -> Prepared:
    parts: dict[str, Callable[[], Any]] = {}
    operations = 0.0
    for policy in policies:
        step = step_of("kd", problem, policy=policy)
        alone, operations = convolutions(step)
        parts |= {policy: step, f"{policy}, convolutions": alone}
    facts = {"operations": operations, "batch": problem.batch_size}
    return Prepared(parts, {**facts, "platform": jax.default_backend()})


def convolutions(step: Stepper) -> tuple[Callable[[], Any], float]:
    """A program of the step's convolutions, and its number of multiplications and additions."""
    traced = jax.make_jaxpr(step.step)(step.state, step.frozen, step.batch).jaxpr
    equations = list(_convolutions_in(traced))
    rng = np.random.default_rng(0)
    large: dict[Any, jax.Array] = {}

    def operands(equation: Any) -> tuple[jax.Array, jax.Array]:
        """Random operands. The smaller one is new for each equation, so that none is merged."""
        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
        draw = lambda s: jnp.asarray(rng.standard_normal(s.shape, np.float32), s.dtype)
        smaller = min((0, 1), key=lambda i: shapes[i].size)
        other = shapes[1 - smaller]
        key = other.shape, str(other.dtype)
        if key not in large:
            large[key] = draw(other)
        pair = {smaller: draw(shapes[smaller]), 1 - smaller: large[key]}
        return pair[0], pair[1]

    arguments = [operands(equation) for equation in equations]

    def program(arguments: list[tuple[jax.Array, jax.Array]]) -> list[jax.Array]:
        return [
            jax.lax.conv_general_dilated_p.bind(*pair, **equation.params)
            for pair, equation in zip(arguments, equations, strict=True)
        ]

    with libraries.using():
        compiled = jax.jit(program).lower(arguments).compile()
    count = sum(_operations(equation) for equation in equations)
    return partial(compiled, arguments), count


def _convolutions_in(jaxpr: Any) -> Iterator[Any]:
    """The convolutions of a program and of the programs inside it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _convolutions_in(inner)


def _operations(equation: Any) -> float:
    """Two for each output number and each kernel number that it depends on, padding included."""
    kernel = equation.invars[1].aval
    out_channels = equation.params["dimension_numbers"].rhs_spec[0]
    per_output = kernel.size / kernel.shape[out_channels]
    return 2.0 * equation.outvars[0].aval.size * per_output


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Ratios as median [smallest, largest] of the rounds; on a GPU also the best rates."""
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
