"""What a computation costs before it runs: multiply-accumulates, parameters, bytes."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core

from kd.errors import InputError
from kd.types import PyTree


def macs(fn: Callable, *args: Any) -> int:
    """Multiply-accumulates of the convolutions and matrix products in `fn(*args)`; all else counts
    nothing.

    Args:
      fn: function of arrays.
      *args: arrays, or trees of them; `jax.ShapeDtypeStruct` in their place will do, since nothing
        is computed.

    Returns:
      The count for the whole batch that `args` hold, as counters for PyTorch have it: kernel taps
        on padding count, and
      those on the zeros that a stride's gradient inserts do not. Divided by the batch, it is what
        papers call
      "FLOPs" of a network (half of its floating-point operations). A loop counts all of its turns,
        a `cond` its dearest branch.

    Raises:
      InputError: a `while` loop contains products: nothing says how often it turns.
    """
    return _macs(jax.make_jaxpr(fn)(*args).jaxpr)


def count(tree: PyTree) -> int:
    """Numbers in a tree of arrays (or of their shapes), such as the parameters of
    `variables["params"]`.
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def parameters(variables: PyTree) -> int:
    """Numbers in a network that were learned: its `params` and, where it has some, layers
    `inherited` from its teacher.
    """
    return sum(count(variables.get(name, ())) for name in ("params", "inherited"))


def nbytes(tree: PyTree) -> int:
    """Bytes of a tree of arrays (or of their shapes)."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _macs(jaxpr: core.Jaxpr) -> int:
    return sum(_equation(eqn) for eqn in jaxpr.eqns)


def _equation(eqn: Any) -> int:
    name, params = eqn.primitive.name, eqn.params
    if name == "conv_general_dilated":
        out, kernel = eqn.outvars[0].aval.shape, eqn.invars[1].aval.shape
        taps = math.prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]]
        return math.prod(out) * taps // math.prod(params["lhs_dilation"])
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        depth = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
        return math.prod(eqn.outvars[0].aval.shape) * depth
    if name == "cond":
        return max(_macs(branch.jaxpr) for branch in params["branches"])
    inner = sum(_macs(jaxpr) for jaxpr in _inner(params))
    if name == "while" and inner:
        raise InputError(
            "the cost of a while loop with matrix products in it is not known before it runs. "
            "Count its body, or write the loop as jax.lax.scan."
        )
    turns = params["length"] if name == "scan" else 1
    devices = params["mesh"].size if name == "shard_map" else 1
    return inner * turns * devices


def _inner(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The programs among an operation's parameters: of jit, scan, remat, custom derivatives, ..."""
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
