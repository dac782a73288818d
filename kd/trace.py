"""The trace of a network: its operations as a flat list, and which values do not need an image.

What rewrites or bounds a network works on its trace (its jaxpr), so it applies to any module.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jaxtyping import Array

from kd.types import PyTree

type Constant = Array | np.ndarray
"""A value that is known without the image. In an export it is NumPy's: scales must be numbers when
the program is traced.
"""

MOVES = (
    "broadcast_in_dim",
    "copy",
    "expand_dims",
    "gather",
    "reshape",
    "rev",
    "slice",
    "split",
    "squeeze",
    "transpose",
)
"""Operations that only move values."""


_PARTS = {
    "erf": "GELU",
    "stop_gradient": "softmax",
    "neg": "GELU",
    "erfc": "GELU",
    "exp": "softmax",
    "integer_pow": "LayerNorm and the tanh form of GELU",
    "logistic": "the sigmoid, SiLU and x sigmoid(1.702 x)",
    "rsqrt": "LayerNorm",
    "square": "LayerNorm",
    "tanh": "tanh and a form of GELU",
}
"""What operations are parts of, by name."""


@dataclasses.dataclass(frozen=True)
class Trace:
    """A network's computation: operations on its variables and an image, without function calls."""

    jaxpr: core.Jaxpr
    consts: Sequence[Any]
    outputs: Any  # structure of its result


def trace(network: Callable, variables: PyTree, image: Any) -> Trace:
    """The trace of `network(variables, image)`, arrays or their shapes."""
    nested, shapes = jax.make_jaxpr(network, return_shape=True)(variables, image)
    evaluate = lambda *leaves: _inlined(nested.jaxpr, nested.consts, leaves)
    flat = jax.make_jaxpr(evaluate)(*jax.tree.leaves((variables, image)))
    return Trace(flat.jaxpr, flat.consts, jax.tree.structure(shapes))


def constants(traced: Trace, variables: PyTree) -> dict[core.Var, Constant]:
    """All values of the trace that do not depend on the image."""
    jaxpr = traced.jaxpr
    known = dict(zip(jaxpr.constvars, traced.consts, strict=True))
    known |= zip(jaxpr.invars[:-1], jax.tree.leaves(variables), strict=True)
    for eqn in jaxpr.eqns:
        if all(isinstance(v, core.Literal) or v in known for v in eqn.invars):
            results = bind(eqn, [read(known, v) for v in eqn.invars])
            known |= zip(eqn.outvars, results, strict=True)
    return known


def read(values: Mapping[core.Var, Any], v: Any) -> Any:
    """The value of a variable or a literal."""
    return v.val if isinstance(v, core.Literal) else values[v]


def bind(eqn: core.JaxprEqn, operands: Sequence[Any]) -> list[Any]:
    """The results of an equation on other operands."""
    if is_relu(eqn):
        return [jax.nn.relu(*operands)]
    results = eqn.primitive.bind(*operands, **eqn.params)
    return list(results) if eqn.primitive.multiple_results else [results]


def is_relu(eqn: core.JaxprEqn) -> bool:
    """Whether it is the call of ReLU, whose gradient at zero is not that of a maximum."""
    return eqn.primitive.name == "custom_jvp_call" and eqn.params.get("name") == "relu"


def needed(jaxpr: core.Jaxpr, output: Any, known: Mapping[Any, Any]) -> list[core.JaxprEqn]:
    """The equations that `output` depends on and whose results are not known, in order."""
    wanted, kept = {output}, []
    for eqn in reversed(jaxpr.eqns):
        if any(v in wanted and v not in known for v in eqn.outvars):
            kept.append(eqn)
            wanted |= {v for v in eqn.invars if not isinstance(v, core.Literal)}
    return kept[::-1]


def layer(eqn: core.JaxprEqn) -> str:
    """Where in the network an equation is, such as MLP/layer1."""
    parts = str(eqn.source_info.name_stack).split("/")
    return "/".join(part for part in parts if part) or "the network"


def operation(eqn: core.JaxprEqn, signals: int) -> str:
    """An operation by its name in jax and what it is a part of, such as "exp (as in softmax)".

    Args:
      eqn: the operation.
      signals: how many of its operands depend on the image.
    """
    name = eqn.primitive.name
    part = _PARTS.get(name)
    if signals > 1 and name == "dot_general":
        part = "attention: a product of two activations"
    elif signals > 1 and name in ("mul", "div"):
        part = "norms, gates and softmax: of two activations"
    return f"{name} (as in {part})" if part else name


def _inlined(jaxpr: core.Jaxpr, consts: Sequence[Any], leaves: Sequence[Any]) -> list:
    """The results of a jaxpr, with the functions that it calls inlined."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= zip(jaxpr.invars, leaves, strict=True)
    for eqn in jaxpr.eqns:
        operands = [read(values, v) for v in eqn.invars]
        inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        with jax.named_scope(str(eqn.source_info.name_stack)):
            if inner is None or is_relu(eqn):
                results = bind(eqn, operands)
            else:
                inner_consts = getattr(inner, "consts", ())
                results = _inlined(getattr(inner, "jaxpr", inner), inner_consts, operands)
        values |= zip(eqn.outvars, results, strict=True)
    return [read(values, v) for v in jaxpr.outvars]
