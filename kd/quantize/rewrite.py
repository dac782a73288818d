"""A network's computation with every activation and weight on a grid of eight bits.

It computes what integer kernels will compute. The rewriting works on the trace of the network (its
jaxpr), so it applies to any module. Values that are constant given the weights are separated from
those that depend on the image, and

- a convolution or matrix product folds what follows it channel by channel (BatchNorm in evaluation
  mode, a bias) into its kernel and its offset; then the kernel is rounded, with one scale per
  output channel;
- a ReLU, or another clipping at constants, is fused with the operation before it;
- every other operation gets rounded operands, and its result is rounded where it is used;
- operations that move values, and maxima, leave them on their grid; a mean of windows is rounded to
  the grid of its operand.

These are the rules of LiteRT's quantization:
https://ai.google.dev/edge/litert/models/quantization_spec.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend import core
from jaxtyping import Array

from kd.quantize.rules import Constant, Rounding, Rules, Signal, bind, is_relu
from kd.types import PyTree


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
            results = bind(eqn, [_read(known, v) for v in eqn.invars])
            known |= zip(eqn.outvars, results, strict=True)
    return known


def rounded(
    traced: Trace, known: Mapping[core.Var, Constant], image: Array, rounding: Rounding
) -> Any:
    """The outputs of the network, computed on grids; the first leaf (the logits) is rounded too.

    Args:
      traced: from `trace`.
      known: from `constants`.
      image: of the traced shape.
      rounding: called for each activation in the order of the computation, for the image first.

    Raises:
      InputError: integer kernels lack an operation; the message has the layer that it is in.
    """
    jaxpr, rules = traced.jaxpr, Rules(rounding)
    values: dict[core.Var, Any] = {**known, jaxpr.invars[-1]: Signal(image)}
    used = [v for eqn in jaxpr.eqns for v in eqn.invars]
    uses: Counter[Any] = Counter(v for v in used if isinstance(v, core.Var))
    rules.round(values[jaxpr.invars[-1]])
    for eqn in jaxpr.eqns:
        if eqn.outvars[0] in known:
            continue
        operands = [_read(values, v) for v in eqn.invars]
        alone = all(
            not isinstance(x, Signal) or uses[v] == 1
            for v, x in zip(eqn.invars, operands, strict=True)
        )
        results = rules.apply(eqn, operands, alone)
        values |= zip(eqn.outvars, results, strict=True)
    first, *others = [_read(values, v) for v in jaxpr.outvars]
    leaves = [rules.round(first), *map(rules.best, others)]
    return jax.tree.unflatten(traced.outputs, leaves)


def _read(values: dict[core.Var, Any], v: Any) -> Any:
    return v.val if isinstance(v, core.Literal) else values[v]


def _inlined(jaxpr: core.Jaxpr, consts: Sequence[Any], leaves: Sequence[Any]) -> list:
    """The results of a jaxpr, with the functions that it calls inlined."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= zip(jaxpr.invars, leaves, strict=True)
    for eqn in jaxpr.eqns:
        operands = [_read(values, v) for v in eqn.invars]
        inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        with jax.named_scope(str(eqn.source_info.name_stack)):
            if inner is None or is_relu(eqn):
                results = bind(eqn, operands)
            else:
                inner_consts = getattr(inner, "consts", ())
                results = _inlined(getattr(inner, "jaxpr", inner), inner_consts, operands)
        values |= zip(eqn.outvars, results, strict=True)
    return [_read(values, v) for v in jaxpr.outvars]
