"""Which inputs of a traced program reach its results, other than by a product with zero."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

SAME_ZERO = frozenset(
    (
        *("broadcast_in_dim", "reshape", "squeeze", "transpose", "convert_element_type", "copy"),
        *("neg", "abs", "sign", "reduce_sum", "reduce_max", "reduce_min", "cumsum", "div"),
        *("slice", "gather", "expand_dims", "rev", "reduce_precision", "stop_gradient"),
        "sharding_constraint",
    )
)
"""Operations that give zeros where their first operand is zeros."""

PRODUCTS = frozenset(("mul", "dot_general", "conv_general_dilated"))
"""Operations that give zeros where one operand is zeros."""

SUMS = frozenset(("add", "add_any", "sub", "concatenate", "scatter-add", "pad", "max", "min"))
"""Operations that give zeros where all floating operands are zeros."""

CALLS = frozenset(
    ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2")
)
"""Operations whose operands and results are those of one program inside."""


def live_inputs(program: Any) -> list[bool]:
    """Whether each input of a program of `jax.make_jaxpr` reaches a result other than by a product
    with zero.
    """
    jaxpr, zero = _inside_zeros(program, [False] * len(program.in_avals))
    return _live(jaxpr, zero, [True] * len(jaxpr.outvars))


def _is_zero_array(value: Any) -> bool:
    try:
        return np.size(value) > 0 and not np.any(np.asarray(value))
    except TypeError:  # a random key
        return False


def _zeros(jaxpr: Any, zero: dict[Any, bool]) -> dict[Any, bool]:
    """Adds to `zero`, whether variables are all zeros, the results of every equation."""
    for equation in jaxpr.eqns:
        operands = [_is_zero(v, zero) for v in equation.invars]
        inner = _inside(equation)
        if inner is not None:
            results = _zero_results(inner, operands)
        else:
            results = [_gives_zeros(equation, operands)] * len(equation.outvars)
        zero.update(zip(equation.outvars, results, strict=True))
    return zero


def _is_zero(variable: Any, zero: Mapping[Any, bool]) -> bool:
    if isinstance(variable, core.Literal):
        return _is_zero_array(variable.val)
    return zero.get(variable, False)


def _gives_zeros(equation: Any, operands: list[bool]) -> bool:
    name = equation.primitive.name
    if name in PRODUCTS:
        return any(operands[:2])
    if name in SUMS:
        floating = [
            is_zero
            for is_zero, v in zip(operands, equation.invars, strict=True)
            if jnp.issubdtype(v.aval.dtype, jnp.floating)
        ]
        return bool(floating) and all(floating)
    if name == "select_n":
        return all(operands[1:])
    return bool(operands) and operands[0] and name in SAME_ZERO


def _inside(equation: Any) -> Any:
    """The program inside a call, with its constants, or None."""
    if equation.primitive.name not in CALLS:
        return None
    inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
    jaxpr = getattr(inner, "jaxpr", inner)
    fits = jaxpr is not None and len(jaxpr.invars) == len(equation.invars)
    return inner if fits else None


def _inside_zeros(inner: Any, operands: Sequence[bool]) -> tuple[Any, dict[Any, bool]]:
    jaxpr = getattr(inner, "jaxpr", inner)
    start = dict(zip(jaxpr.invars, operands, strict=True))
    for variable, value in zip(jaxpr.constvars, getattr(inner, "consts", ()), strict=False):
        start[variable] = _is_zero_array(value)
    return jaxpr, _zeros(jaxpr, start)


def _zero_results(inner: Any, operands: Sequence[bool]) -> list[bool]:
    jaxpr, zero = _inside_zeros(inner, operands)
    return [_is_zero(v, zero) for v in jaxpr.outvars]


def _live(jaxpr: Any, zero: Mapping[Any, bool], wanted: Sequence[bool]) -> list[bool]:
    """Whether each input reaches a wanted result."""
    live = {
        v
        for v, is_wanted in zip(jaxpr.outvars, wanted, strict=True)
        if is_wanted and not isinstance(v, core.Literal) and not zero.get(v, False)
    }
    for equation in reversed(jaxpr.eqns):
        results = [v in live for v in equation.outvars]
        if not any(results):
            continue
        inner = _inside(equation)
        operands = [_is_zero(v, zero) for v in equation.invars]
        reached = [True] * len(operands)
        if inner is not None:
            inner_jaxpr, inner_zero = _inside_zeros(inner, operands)
            reached = _live(inner_jaxpr, inner_zero, results)
        for variable, is_reached, is_zero in zip(equation.invars, reached, operands, strict=True):
            if is_reached and not is_zero and not isinstance(variable, core.Literal):
                live.add(variable)
    return [v in live for v in jaxpr.invars]


def equations(program: Any) -> Iterator[Any]:
    """Yields every operation of a program, and of the programs inside."""
    for equation in getattr(program, "jaxpr", program).eqns:
        yield equation
        values = jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda value: hasattr(value, "eqns")
        )
        for value in values:
            if hasattr(value, "eqns"):
                yield from equations(value)
