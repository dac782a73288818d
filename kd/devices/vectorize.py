"""One function over several networks: vmap, map or unroll, and which is fastest where."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kd.convolutions.lowering import XLA, covered
from kd.devices.options import equations
from kd.types import PyTree

METHODS = ("vmap", "map", "unroll")


def map_stacked(function: Callable, how: str, axes: tuple[int | None, ...]) -> Callable:
    """Maps `function` over the leading axis of its stacked arguments; results are stacked.

    Args:
      function: pure function of pytrees.
      how: `vmap` (one batched program), `map` (one after the other in a loop of the program) or
        `unroll` (the loop written out; it takes longer to compile). Results are equal up to
        rounding.
      axes: one entry per argument: 0 if it is stacked, None if all calls get the same.
    """
    if how == "vmap":
        return jax.vmap(function, axes)

    def split(arguments: tuple) -> list:
        return [a for a, axis in zip(arguments, axes, strict=True) if axis == 0]

    def join(entries: list, arguments: tuple) -> list:
        rest = iter(entries)
        return [next(rest) if axis == 0 else a for a, axis in zip(arguments, axes, strict=True)]

    def mapped(*arguments: Any) -> Any:
        call = lambda entries: function(*join(entries, arguments))
        if how == "map":
            return jax.lax.map(call, split(arguments))
        size = jax.tree.leaves(split(arguments))[0].shape[0]
        results = [call(tree_index(split(arguments), i)) for i in range(size)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return mapped


def tree_index(tree: PyTree, index: Any) -> PyTree:
    """Indexes the leading axis of every array of a tree, by an int, a slice or a list."""
    return jax.tree.map(lambda x: x[index], tree)


def fastest_method(function: Callable, *arguments: Any, convolutions: str = XLA) -> str:
    """The fastest of METHODS for `function` on this backend.

    On a CPU it is

    - `unroll` if `function` has attention, or convolutions that XLA computes. With weights that
      differ, vmap turns a convolution into a grouped one, for which XLA's CPU backend has no fast
      kernel, and inside the loop of `map` it has none for gradients: an update of two small CNNs,
      batch 32, on two cores takes 61 ms unrolled, 191 by vmap and 860 by map. Batched matrix
      products, as in attention, gain nothing from a further batch axis: vmap takes at least 1.5
      times as long as unroll for the forward pass of two to eight transformers, and is no faster
      for their updates.
    - `map` if oneDNN computes all of its convolutions, whose code is the same within loops. An
      update of each of four CNNs, batch 64, on one core takes 25 ms by map, 41 unrolled and 27
      alone, and the program of map is that of one network: it compiles in half the time.
    - `vmap` for plain dense layers, which become one larger product.

    docs/performance.md has the tables.

    Args:
      function: of one network, not stacked.
      *arguments: its arguments; only their shapes matter.
      convolutions: the library that computes them, see `kd.convolutions`.
    """
    if jax.default_backend() != "cpu":
        return "vmap"
    inside = list(equations(_traced(function, *arguments)))
    if any(_attends(e) or _slow_in_loops(e, convolutions) for e in inside):
        return "unroll"
    return "map" if any(map(_convolves, inside)) else "vmap"


def loops_are_slow(function: Callable, *arguments: Any, convolutions: str = XLA) -> bool:
    """Whether `function` runs on a CPU and has convolutions that XLA computes: its fast kernels for
    them are not used inside loops, oneDNN's are.
    """
    if jax.default_backend() != "cpu":
        return False
    inside = equations(_traced(function, *arguments))
    return any(_slow_in_loops(e, convolutions) for e in inside)


def _traced(function: Callable, *arguments: Any) -> Any:
    """The program of `function`; jax keeps it for the next question about the same function."""
    return jax.jit(function).trace(*arguments).jaxpr.jaxpr


def _convolves(equation: Any) -> bool:
    return equation.primitive.name == "conv_general_dilated"


def _slow_in_loops(equation: Any, convolutions: str) -> bool:
    """Whether an equation is a convolution that XLA computes under this setting, on a CPU."""
    if not _convolves(equation):
        return False
    if convolutions == XLA:
        return True
    first, second, result = (v.aval for v in (*equation.invars, *equation.outvars))
    return covered(first, second, result, equation.params) is None


def _attends(equation: Any) -> bool:
    """Whether an equation is a batched matrix product."""
    if equation.primitive.name != "dot_general":
        return False
    _, (batch, _) = equation.params["dimension_numbers"]
    return bool(batch)
