"""The cost of a network, from shapes alone: multiply-accumulates, parameters, bytes."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
from jax.extend import core

from kd.errors import InputError
from kd.types import PyTree


def macs(fn: Callable, *args: Any) -> int:
    """Multiply-accumulates of the convolutions and matrix products in `fn(*args)`.

    Args:
      fn: function of arrays.
      *args: arrays, `jax.ShapeDtypeStruct`, or trees of them; nothing is computed.

    Returns:
      The count for the full batch in `args`, by the rules of counters for PyTorch: kernel taps on
      padding count, taps on the zeros that the gradient of a stride inserts do not. Divided by the
      batch size it is what papers call "FLOPs" of a network (half of its floating-point
      operations). A loop counts every iteration, a `cond` its most expensive branch.

    Raises:
      InputError: a `while` loop contains products, and the number of its iterations is unknown.
    """
    try:
        hash(fn)
    except TypeError:  # such as a method of a network with a dict among its fields
        fn = partial(fn)
    # Not traced again for `jax.eval_shape` of the same function, nor after it.
    return _macs(jax.jit(fn).trace(*args).jaxpr.jaxpr)


def count(tree: PyTree) -> int:
    """The number of entries in a tree of arrays or shapes, such as `variables["params"]`."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def parameters(variables: PyTree) -> int:
    """The number of learned parameters: `params` and, if any, layers `inherited` from a teacher."""
    return sum(count(variables.get(name, ())) for name in ("params", "inherited"))


def nbytes(tree: PyTree) -> int:
    """The bytes of a tree of arrays or shapes."""
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
            "the cost of a while loop with matrix products is not known before it runs. Count its "
            "body, or write the loop as jax.lax.scan."
        )
    iterations = params["length"] if name == "scan" else 1
    devices = params["mesh"].size if name == "shard_map" else 1
    return inner * iterations * devices


def _inner(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The programs inside an operation: the body of jit, scan, remat, custom derivatives, ..."""
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
