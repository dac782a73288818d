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

from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
from jax.extend import core
from jaxtyping import Array

from kd.quantize.rules import Rounding, Rules, Signal
from kd.trace import Constant, Trace, read


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
        operands = [read(values, v) for v in eqn.invars]
        alone = all(
            not isinstance(x, Signal) or uses[v] == 1
            for v, x in zip(eqn.invars, operands, strict=True)
        )
        results = rules.apply(eqn, operands, alone)
        values |= zip(eqn.outvars, results, strict=True)
    first, *others = [read(values, v) for v in jaxpr.outvars]
    leaves = [rules.round(first), *map(rules.best, others)]
    return jax.tree.unflatten(traced.outputs, leaves)
