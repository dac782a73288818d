"""One function over many networks: the three ways, and which is fastest where."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kd.types import PyTree

HOW = ("vmap", "map", "unroll")


def over(function: Callable, how: str, axes: tuple[int | None, ...]) -> Callable:
    """`function` over the leading axis of the arguments whose entry in `axes` is 0, results stacked.

    Args:
      function: pure function of pytrees.
      how: `vmap` (one batched program), `map` (one after the other in a loop of the program) or `unroll` (the same,
        written out: longer to compile). The results are equal up to rounding.
      axes: per argument 0, or None where all calls get the same.
    """
    if how == "vmap":
        return jax.vmap(function, axes)

    def split(arguments: tuple) -> list:
        return [a for a, axis in zip(arguments, axes, strict=True) if axis == 0]

    def join(mapped: list, arguments: tuple) -> list:
        rest = iter(mapped)
        return [
            next(rest) if axis == 0 else a
            for a, axis in zip(arguments, axes, strict=True)
        ]

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
    """`unroll` where `function` convolves and runs on a CPU, else `vmap`.

    Over weights, vmap turns a convolution into a grouped one, for which XLA's CPU backend has no fast kernel, and inside the
    loop of `map` it has none for gradients. An update of two small CNNs, batch 32, on two cores: unroll 61 ms, vmap 191 ms,
    map 860 ms. Dense layers become one larger product under vmap.
    """
    return "unroll" if loops_are_slow(function, *arguments) else "vmap"


def loops_are_slow(function: Callable, *arguments: Any) -> bool:
    """Whether `function` convolves and runs on a CPU, where convolutions want no loop around them in the program."""
    if jax.default_backend() != "cpu":
        return False
    return _convolves(jax.make_jaxpr(function)(*arguments).jaxpr)


def _convolves(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            return True
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and _convolves(inner):
                return True
    return False
