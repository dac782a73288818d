"""One function over many networks: the three ways, and which is fastest where."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kd.types import PyTree

HOW = ("vmap", "map", "unroll")


def over(function: Callable, how: str, axes: tuple[int | None, ...]) -> Callable:
    """`function` over the leading axis of the arguments whose entry in `axes` is 0, results
    stacked.

    Args:
      function: pure function of pytrees.
      how: `vmap` (one batched program), `map` (one after the other in a loop of the program) or
        `unroll` (the same, written out: longer to compile). The results are equal up to rounding.
      axes: per argument 0, or None where all calls get the same.
    """
    if how == "vmap":
        return jax.vmap(function, axes)

    def split(arguments: tuple) -> list:
        return [a for a, axis in zip(arguments, axes, strict=True) if axis == 0]

    def join(mapped: list, arguments: tuple) -> list:
        rest = iter(mapped)
        return [next(rest) if axis == 0 else a for a, axis in zip(arguments, axes, strict=True)]

    def mapped(*arguments: Any) -> Any:
        one = lambda picked: function(*join(picked, arguments))
        if how == "map":
            return jax.lax.map(one, split(arguments))
        size = jax.tree.leaves(split(arguments))[0].shape[0]
        results = [one(pick(split(arguments), i)) for i in range(size)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return mapped


def pick(tree: PyTree, index: Any) -> PyTree:
    """Entry `index` (an int, a slice, a list) of the leading axis of every array of a tree."""
    return jax.tree.map(lambda x: x[index], tree)


def fastest(function: Callable, *arguments: Any) -> str:
    """`unroll` on a CPU where `function` convolves or attends, else `vmap`.

    Over weights, vmap turns a convolution into a grouped one, for which XLA's CPU backend has no
    fast kernel, and inside the loop of `map` it has none for gradients. An update of two small
    CNNs, batch 32, on two cores: unroll 61 ms, vmap 191 ms, map 860 ms. Products of matrices that
    are in batches already, as attention has them, gain nothing from a further axis: vmap takes half
    as long again as unroll, and more, for the forward of two to eight transformers, and is no
    faster for their updates. Plain dense layers become one larger product. docs/performance.md has
    the tables.
    """
    if jax.default_backend() != "cpu":
        return "vmap"
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return "unroll" if _any(jaxpr, lambda e: _convolves(e) or _attends(e)) else "vmap"


def loops_are_slow(function: Callable, *arguments: Any) -> bool:
    """Whether `function` convolves and runs on a CPU, where convolutions want no loop around them
    in the program.
    """
    if jax.default_backend() != "cpu":
        return False
    return _any(jax.make_jaxpr(function)(*arguments).jaxpr, _convolves)


def _convolves(equation: Any) -> bool:
    return equation.primitive.name == "conv_general_dilated"


def _attends(equation: Any) -> bool:
    """Whether it is a product of matrices in batches."""
    if equation.primitive.name != "dot_general":
        return False
    _, (batch, _) = equation.params["dimension_numbers"]
    return bool(batch)


def _any(jaxpr: Any, test: Callable[[Any], bool]) -> bool:
    """Whether some equation of the program, or of one within it, passes the test."""
    for equation in jaxpr.eqns:
        if test(equation):
            return True
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and _any(inner, test):
                return True
    return False
