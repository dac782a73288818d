"""Linear operations of a trace as matrices: which inputs each output sees, and by what weight."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from scipy import sparse


def taps(
    size: int, window: int, stride: int, padding: tuple[int, int], base: int = 1, dilation: int = 1
) -> Int[np.ndarray, "p t"]:
    """Positions along one axis that each output sees at each tap; -1 is padding.

    Args:
      size: of the axis.
      window: number of taps.
      stride: between outputs.
      padding: before and after.
      base: dilation of the input, with zeros in between.
      dilation: of the window.
    """
    length = (size - 1) * base + 1 if size else 0
    reach = (window - 1) * dilation + 1
    outputs = max(0, (length + sum(padding) - reach) // stride + 1)
    place = np.arange(outputs)[:, None] * stride + np.arange(window) * dilation - padding[0]
    inside = (place >= 0) & (place < length) & (place % base == 0)
    return np.where(inside, place // base, -1)


def pooled(shape: Sequence[int], params: dict[str, Any]) -> Int[np.ndarray, "m k"]:
    """Flat indices of the inputs in the window of each output of a `reduce_window`; -1 is padding.

    Args:
      shape: of the input.
      params: of the equation.
    """
    n = len(shape)
    settings = zip(
        shape,
        params["window_dimensions"],
        params["window_strides"],
        params["padding"],
        params.get("base_dilation") or (1,) * n,
        params.get("window_dilation") or (1,) * n,
        strict=True,
    )
    axes = [taps(*axis) for axis in settings]
    return _flat(shape, axes).reshape(int(np.prod([len(a) for a in axes])), -1)


def _flat(shape: Sequence[int], axes: Sequence[np.ndarray]) -> np.ndarray:
    """Flat indices [p1, p2, ..., t1, t2, ...] from the positions along each axis [p, t]."""
    n = len(shape)
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    index, missing = np.zeros((), np.int64), np.zeros((), bool)
    for i, (axis, stride) in enumerate(zip(axes, strides, strict=True)):
        place = [1] * (2 * n)
        place[i], place[n + i] = axis.shape
        spread = axis.reshape(place)
        index = index + np.maximum(spread, 0) * stride
        missing = missing | (spread < 0)
    return np.where(missing, -1, index)


def convolution(
    shape: Sequence[int], kernel: np.ndarray, params: dict[str, Any]
) -> sparse.csr_array:
    """The matrix of a `conv_general_dilated` with a constant kernel, batch of one.

    Args:
      shape: of its input.
      kernel: as the equation takes it.
      params: of the equation.
    """
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    space = [shape[d] for d in lhs[2:]]
    weights = kernel.transpose(rhs)  # [o, c / groups, *taps]
    settings = zip(
        space,
        weights.shape[2:],
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"] or (1,) * len(space),
        params["rhs_dilation"] or (1,) * len(space),
        strict=True,
    )
    axes = [taps(*axis) for axis in settings]
    places = [len(axis) for axis in axes]
    seen = _flat(space, axes).reshape(int(np.prod(places)), -1)  # [p, t] in the plane of a channel
    index = np.arange(int(np.prod(shape))).reshape(shape).transpose(lhs)[0]
    index = index.reshape(shape[lhs[1]], -1)  # [c, plane]
    outputs, inner = weights.shape[:2]
    channel = (np.arange(outputs) // (outputs // groups))[:, None] * inner + np.arange(inner)
    column = index[channel][:, :, np.maximum(seen, 0)]  # [o, c / groups, p, t]
    value = np.broadcast_to(weights.reshape(outputs, inner, 1, -1), column.shape)
    shaped = (1, outputs, *places)
    order = np.argsort(out)  # from (batch, feature, space) to the order of the result
    size = outputs * seen.shape[0]
    rows = np.empty(size, np.int64)
    rows[np.arange(size).reshape(shaped).transpose(order).ravel()] = np.arange(size)
    row = np.broadcast_to(rows.reshape(outputs, 1, -1, 1), column.shape)
    kept = np.broadcast_to(seen >= 0, column.shape) & (value != 0)
    entries = (value[kept].astype(np.float64), (row[kept], column[kept]))
    return sparse.csr_array(entries, shape=(size, int(np.prod(shape))))


def reduced(shape: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """Flat indices of the entries that each output of a reduction over `axes` sees."""
    index = np.arange(int(np.prod(shape))).reshape(shape)
    kept = [d for d in range(len(shape)) if d not in axes]
    return index.transpose(*kept, *axes).reshape(int(np.prod([shape[d] for d in kept])), -1)


def product(
    shape: Sequence[int], constant: np.ndarray, numbers: Any, is_first: bool
) -> sparse.csr_array:
    """The matrix of a `dot_general` without batch axes, of x and a constant.

    Args:
      shape: of x.
      constant: the other operand.
      numbers: `dimension_numbers` of the equation.
      is_first: whether x is the first operand.
    """
    (left, right), _ = numbers
    ours, theirs = (left, right) if is_first else (right, left)
    size, k = int(np.prod(shape)), int(np.prod([shape[d] for d in ours]))
    index = np.moveaxis(np.arange(size).reshape(shape), ours, range(len(ours))).reshape(k, -1)
    weights = np.moveaxis(constant, theirs, range(len(theirs))).reshape(k, -1)
    f, n = index.shape[1], weights.shape[1]  # free entries of x and of the constant
    row = np.arange(f * n).reshape(f, n) if is_first else np.arange(f * n).reshape(n, f).T
    entries = np.broadcast_arrays(weights[:, None], row[None], index[:, :, None])
    value, row, column = (part.ravel() for part in entries)
    return sparse.csr_array((value.astype(np.float64), (row, column)), shape=(f * n, size))


def places(index: np.ndarray, size: int) -> sparse.csr_array:
    """The matrix that takes entry `index[i]` of `size` to place i; -1 leaves zero."""
    row = np.flatnonzero(index >= 0)
    entries = (np.ones(len(row)), (row, index[row]))
    return sparse.csr_array(entries, shape=(len(index), size))


def sums(window: np.ndarray, size: int) -> sparse.csr_array:
    """The matrix of the sums over the entries `window[i]` of `size`; -1 is none."""
    inside = window >= 0
    row = np.broadcast_to(np.arange(len(window))[:, None], window.shape)
    entries = (np.ones(int(inside.sum())), (row[inside], window[inside]))
    return sparse.csr_array(entries, shape=(len(window), size))
