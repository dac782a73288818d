"""A student that was trained on eight bits as a program that carries its scales, so that its file
computes on the same grids.

Its roundings are the operations that LiteRT's converter knows from PyTorch, `uniform_quantize` and
`uniform_dequantize`, whose one setting is a type of MLIR's quant dialect. What stands between two
of them is one operation of the file.
"""

from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd.quantize import grid, rewrite
from kd.quantize.rules import Constant
from kd.quantize.student import Quantized, ranges
from kd.types import Outputs, PyTree

VERBS = tuple(f"odml_torch.uniform_{verb}" for verb in ("quantize", "dequantize"))

CHECKS = tuple(map(jax.export.DisabledSafetyCheck.custom_call, VERBS))
"""What `jax.export` must be told to let pass: it vouches for no operation that it does not know."""

type Range = tuple[float, float]


def annotated(
    student: Quantized,
    variables: PyTree,
    example: jax.ShapeDtypeStruct,
    front: Callable[[Array], Array] | None = None,
    seen: Range | None = None,
) -> Callable[[Array], Float[Array, "1 c"]]:
    """The student's logits as a function of an example, for `jax.export` without `CHECKS`. Its
    scales are constants in it.

    Args:
      student: the network.
      variables: of one seed.
      example: of what the function is given, batch 1.
      front: what stands before the network, which gets a scale of its own; None where it is given
        what it was trained on.
      seen: range of the example, if it is known; None takes the range that the student has seen.
    """
    weights = {k: v for k, v in variables.items() if k != "quant_stats"}

    def network(weights: PyTree, x: Array) -> Outputs:
        x = front(x) if front else x
        return cast(Outputs, student.net.apply(weights, x, train=False))

    own = np.array(ranges(variables), np.float32)
    if front is not None:
        assert seen is not None
        own = np.concatenate([np.array([seen], np.float32), own])
    elif seen is not None:
        own[0] = seen
    traced = rewrite.trace(network, weights, example)
    known = rewrite.constants(traced, weights)
    known = {v: np.asarray(value) for v, value in known.items()}
    grids = [grid.scale_and_zero(jnp.asarray(r)) for r in own]
    numbers = [(float(scale), int(zero)) for scale, zero in grids]
    return lambda x: rewrite.rounded(traced, known, x, _Annotating(numbers)).logits


class _Annotating:
    """Rounding by operations that name scale and zero point."""

    def __init__(self, grids: Sequence[tuple[float, int]]):
        self._grids, self._places = grids, 0

    def activation(self, x: Array, place: int | None) -> tuple[Array, int]:
        if place is None:
            place, self._places = self._places, self._places + 1
        scale, zero = self._grids[place]
        return _rounded(x, f"i8:f32, {scale:.9e}:{zero}"), place

    def weight(self, kernel: Constant) -> Array:
        kernel = np.asarray(kernel)
        each = ",".join(f"{s:.9e}:0" for s in grid.weight_scale(kernel).tolist())
        return _rounded(jnp.asarray(kernel), f"i8<-127:127>:f32:{kernel.ndim - 1}, {{{each}}}")


def _rounded(x: Array, kind: str) -> Array:
    """x to the integers of a quantized type and back."""
    setting = f"tensor<{'x'.join(map(str, x.shape))}x!quant.uniform<{kind}>>"
    for verb in VERBS:
        call = jax.ffi.ffi_call(verb, x, custom_call_api_version=1, legacy_backend_config=setting)
        x = call(x)
    return x
