"""A convolution of XLA as a problem of oneDNN.

Differentiation turns a convolution into others: the gradient of its maps is a convolution with
dilated maps and a transposed kernel, the gradient of its kernel one that exchanges examples and
channels. All are `conv_general_dilated` with other axes. Here each is recognised by these.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

FORWARD, MAPS, KERNEL = range(3)
"""What is computed: outputs, the gradient of the maps, or the gradient of the kernel."""

STACKED = 8
"""Channels of a group, from which groups are computed one by one. Below, oneDNN's own code for
groups is faster.
"""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A convolution maps [n, h, w, c] * kernel -> outputs [n, oh, ow, o], or a gradient of it; or
    `stack` of these, whose arrays have a leading axis.

    Maps and outputs are contiguous. `steps` are the distances in elements of neighbours in the
    kernel along (group, output, input, height, width). The fields are those of the C++ struct.
    """

    kind: int
    stack: int
    n: int
    h: int
    w: int
    c: int
    oh: int
    ow: int
    o: int
    kh: int
    kw: int
    groups: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: tuple[int, ...]  # before the first row and column
    steps: tuple[int, ...]

    def numbers(self) -> tuple[int, ...]:
        """The fields as the custom call takes them."""
        numbers: list[int] = []
        for value in dataclasses.astuple(self):
            numbers += value if isinstance(value, tuple) else (value,)
        return tuple(numbers)


def recognise(
    lhs: Sequence[int], rhs: Sequence[int], out: Sequence[int], params: dict[str, Any]
) -> Problem | None:
    """The problem of `conv_general_dilated`; None if it is none of the three.

    Groups of many channels, such as `vmap` makes of the kernels of several networks, become a
    stack: see `split`.

    Args:
      lhs: shape of the first operand.
      rhs: shape of the second operand.
      out: shape of the result.
      params: of the equation.
    """
    rank, groups = len(lhs), params["feature_group_count"]
    if rank not in (3, 4) or 0 in (*lhs, *rhs, *out):
        return None
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    last = rank - 1
    maps, exchanged = (0, last, *range(1, last)), (last, 0, *range(1, last))
    of_kernel = lhs_spec == exchanged and rhs_spec == exchanged
    if groups > 1 and (of_kernel or min(rhs[rhs_spec[1]], rhs[rhs_spec[0]] // groups) >= STACKED):
        divided = lambda shape, axis: [
            size // groups if i == axis else size for i, size in enumerate(shape)
        ]
        lhs, rhs = divided(lhs, lhs_spec[1]), divided(rhs, rhs_spec[0])
        problem = recognise(
            lhs, rhs, divided(out, out_spec[1]), params | {"feature_group_count": 1}
        )
        return problem and dataclasses.replace(problem, stack=groups)
    if of_kernel:
        return _kernel(lhs, rhs, out, out_spec, params)
    if lhs_spec == maps and out_spec == maps and params["batch_group_count"] == 1:
        return _forward_or_maps(lhs, rhs, out, rhs_spec, params)
    return None


def _forward_or_maps(
    lhs: Sequence[int],
    rhs: Sequence[int],
    out: Sequence[int],
    spec: Sequence[int],
    params: dict[str, Any],
) -> Problem | None:
    groups = params["feature_group_count"]
    kernel = tuple(rhs[axis] for axis in spec[2:])
    steps = _steps(rhs, spec)
    per_group = rhs[spec[0]] // groups
    order = (per_group * steps[0], *steps)
    dilated, strides = params["lhs_dilation"], params["window_strides"]
    dilations = params["rhs_dilation"]
    before = [low for low, _ in params["padding"]]
    if set(dilated) == {1} and min(before) >= 0:
        return _problem(FORWARD, lhs, out, kernel, groups, strides, dilations, before, order)
    if set(strides) != {1}:
        return None
    # The forward pass maps `out` to `lhs`; the kernel is reversed and its inputs are our outputs.
    before = [(k - 1) * d - low for k, d, low in zip(kernel, dilations, before, strict=True)]
    if min(before) < 0:
        return None
    order = (per_group * steps[0], steps[1], steps[0], *steps[2:])
    return _problem(MAPS, out, lhs, kernel, groups, dilated, dilations, before, order)


def _kernel(
    lhs: Sequence[int],
    rhs: Sequence[int],
    out: Sequence[int],
    spec: Sequence[int],
    params: dict[str, Any],
) -> Problem | None:
    if set(params["lhs_dilation"]) != {1}:
        return None
    groups = params["batch_group_count"]
    kernel = tuple(out[axis] for axis in spec[2:])
    # The result's "examples" are inputs of the kernel, its "channels" outputs.
    inputs, outputs, *window = _steps(out, spec)
    order = (out[spec[1]] // groups * outputs, outputs, inputs, *window)
    strides, dilations = params["rhs_dilation"], params["window_strides"]
    before = [low for low, _ in params["padding"]]
    if min(before) < 0:
        return None
    return _problem(KERNEL, lhs, rhs, kernel, groups, strides, dilations, before, order)


def _problem(
    kind: int,
    maps: Sequence[int],
    outputs: Sequence[int],
    kernel: Sequence[int],
    groups: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: Sequence[int],
    steps: Sequence[int],
) -> Problem:
    """A problem of one or two dimensions; one dimension is a row of height 1."""
    if len(kernel) == 1:
        add = lambda values, value: (value, *values)
        kernel, strides, dilations = add(kernel, 1), add(strides, 1), add(dilations, 1)
        padding = add(padding, 0)
        maps, outputs = (maps[0], 1, *maps[1:]), (outputs[0], 1, *outputs[1:])
        steps = (*steps[:3], 1, *steps[3:])
    n, h, w, c = maps
    _, oh, ow, o = outputs
    return Problem(
        kind,
        1,
        *(n, h, w, c, oh, ow, o, *kernel, groups),
        strides=tuple(strides),
        dilations=tuple(dilations),
        padding=tuple(padding),
        steps=tuple(steps),
    )


def _steps(shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    """Distances in elements of neighbours along these axes of a contiguous array."""
    steps = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        steps[axis] = steps[axis + 1] * shape[axis + 1]
    return [steps[axis] for axis in axes]
