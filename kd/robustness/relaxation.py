"""Lines below and above a clipping such as ReLU over an interval, in NumPy or in JAX.

As in Zhang et al. 2018 (https://arxiv.org/abs/1811.00866), with the adaptive lower slope. Proofs
(`kd.verify`) compute them in float64 NumPy, training in JAX with a gradient.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Lines(NamedTuple):
    """Lines below and above a clipping over each interval: slopes and intercepts."""

    low_slope: Any
    low_offset: Any
    high_slope: Any
    high_offset: Any


def lines(low: Any, high: Any, least: Any, most: Any) -> Lines:
    """Linear bounds of min(max(x, least), most) for x between `low` and `high`, entry by entry.

    Args:
      low, high: the interval of each entry, of one shape.
      least, most: limits of the clipping, numbers or arrays that broadcast; infinity for none.
    """
    xp: Any = jnp if isinstance(low, jax.Array) else np
    a, c = least, most
    start, end = xp.clip(low, a, c), xp.clip(high, a, c)
    width = high - low
    chord = (end - start) / xp.where(width > 0, width, 1)
    below = (low < a) & (high > a)  # the kinks that lie inside
    above = (high > c) & (low < c)
    # Lower line: the chord where the function is concave, else through the corner at a: with slope
    # 1 (or, if it bends at c, up to the end), or 0, whichever leaves less area.
    reach = xp.where(above, high, xp.minimum(high, c))
    corner = xp.where(below, a, 0.0)
    rise = (end - corner) / xp.where(below, reach - corner, 1)
    rise = xp.where(below & (reach - corner > corner - low), rise, 0.0)
    low_slope = xp.where(below, rise, chord)
    low_offset = xp.where(below, corner * (1 - rise), start - chord * low)
    # Upper line, likewise about c.
    corner = xp.where(above, c, 0.0)
    reach = xp.where(below, low, xp.maximum(low, a))
    rise = (corner - start) / xp.where(above, corner - reach, 1)
    rise = xp.where(above & (corner - reach > high - corner), rise, 0.0)
    high_slope = xp.where(above, rise, chord)
    high_offset = xp.where(above, corner * (1 - rise), start - chord * low)
    linear = ~(below | above)  # exactly x, or exactly a constant
    through = linear & (start == low) & (end == high)
    return Lines(
        xp.where(through, 1.0, xp.where(linear, 0.0, low_slope)),
        xp.where(through, 0.0, xp.where(linear, start, low_offset)),
        xp.where(through, 1.0, xp.where(linear, 0.0, high_slope)),
        xp.where(through, 0.0, xp.where(linear, end, high_offset)),
    )
