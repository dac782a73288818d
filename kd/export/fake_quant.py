"""A student trained on eight bits as a program with its scales: its file rounds to the same grids.

Its roundings are the operations that LiteRT's converter knows from PyTorch, `uniform_quantize` and
`uniform_dequantize`, whose only setting is a type of MLIR's quant dialect. The operations between
two of them become one operation of the file.
"""

from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd.quantize import grid, rewrite
from kd.quantize.student import Quantized, ranges
from kd.trace import Constant, constants, trace
from kd.types import Outputs, PyTree

CALLS = ("odml_torch.uniform_quantize", "odml_torch.uniform_dequantize")

CHECKS = tuple(map(jax.export.DisabledSafetyCheck.custom_call, CALLS))
"""Safety checks that `jax.export` must leave out: it refuses custom calls that it does not know."""

type Range = tuple[float, float]


def annotated(
    student: Quantized,
    variables: PyTree,
    example: jax.ShapeDtypeStruct,
    front: Callable[[Array], Array] | None = None,
    input_range: Range | None = None,
) -> Callable[[Array], Float[Array, "1 c"]]:
    """The student's logits as a function of an example, for `jax.export` without `CHECKS`. The
    function has the scales as constants.

    Args:
      student: the network.
      variables: of one seed.
      example: shape and type of the function's input, batch 1.
      front: computes the network's input, on a scale of its own; None where the function's input
        is the network's.
      input_range: of the function's input; None takes the range that the student recorded.
    """
    weights = {k: v for k, v in variables.items() if k != "quant_stats"}

    def network(weights: PyTree, x: Array) -> Outputs:
        x = front(x) if front else x
        return cast(Outputs, student.net.apply(weights, x, train=False))

    all_ranges = np.array(ranges(variables), np.float32)
    if front is not None:
        assert input_range is not None
        all_ranges = np.concatenate([np.array([input_range], np.float32), all_ranges])
    elif input_range is not None:
        all_ranges[0] = input_range
    traced = trace(network, weights, example)
    known = {v: np.asarray(value) for v, value in constants(traced, weights).items()}
    grids = [grid.scale_and_zero(jnp.asarray(r)) for r in all_ranges]
    numbers = [(float(scale), int(zero)) for scale, zero in grids]
    return lambda x: rewrite.rounded(traced, known, x, _Annotating(numbers)).logits


class _Annotating:
    """Rounding by operations that carry scale and zero point."""

    def __init__(self, grids: Sequence[tuple[float, int]]):
        self._grids, self._places = grids, 0

    def activation(self, x: Array, place: int | None) -> tuple[Array, int]:
        if place is None:
            place, self._places = self._places, self._places + 1
        scale, zero = self._grids[place]
        return _rounded(x, f"i8:f32, {scale:.9e}:{zero}"), place

    def weight(self, kernel: Constant) -> Array:
        kernel = np.asarray(kernel)
        scales = ",".join(f"{s:.9e}:0" for s in grid.weight_scale(kernel).tolist())
        return _rounded(jnp.asarray(kernel), f"i8<-127:127>:f32:{kernel.ndim - 1}, {{{scales}}}")


def _rounded(x: Array, kind: str) -> Array:
    """x converted to a quantized type and back."""
    setting = f"tensor<{'x'.join(map(str, x.shape))}x!quant.uniform<{kind}>>"
    for name in CALLS:
        call = jax.ffi.ffi_call(name, x, custom_call_api_version=1, legacy_backend_config=setting)
        x = call(x)
    return x
