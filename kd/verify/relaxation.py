"""Linear bounds of one nonlinearity, and how coefficients pass through it.

Clippings such as ReLU as in `kd.robustness.relaxation`; maxima as in DeepPoly (Singh et al. 2019,
https://doi.org/10.1145/3290354).
"""

from typing import NamedTuple

import numpy as np

from kd.robustness import relaxation
from kd.robustness.relaxation import Lines
from kd.verify.graph import Clip, Maximum, gathered


class Part(NamedTuple):
    """Coefficients [b or 1, r, s] on the entries `support` [s] of a node."""

    slope: np.ndarray
    support: np.ndarray


class Choice(NamedTuple):
    """For a maximum over each interval: the tap below it, [b, m], the tap that equals it, or -1,
    and an upper bound.
    """

    low: np.ndarray
    high: np.ndarray
    top: np.ndarray


def lines(node: Clip, low: np.ndarray, high: np.ndarray) -> Lines:
    """Linear bounds of a clipping for x between `low` and `high`, [b, n]."""
    return relaxation.lines(low, high, node.low, node.high)


def choice(node: Maximum, low: np.ndarray, high: np.ndarray) -> Choice:
    """Bounds of a maximum: from below by the entry with the largest lower bound, from above by that
    entry if no other can exceed it, else by the largest upper bound.
    """
    lows, highs = (gathered(x, node.window, -np.inf) for x in (low, high))
    best = lows.argmax(axis=-1)
    is_best = np.arange(lows.shape[-1]) == best[..., None]
    rest = np.where(is_best, -np.inf, highs).max(axis=-1)
    wins = np.take_along_axis(lows, best[..., None], -1)[..., 0] >= rest
    return Choice(best, np.where(wins, best, -1), highs.max(axis=-1))


def through_lines(part: Part, relaxed: Lines) -> tuple[Part, np.ndarray]:
    """Coefficients on a clipping as coefficients on its input, and constants [b, r]."""
    low_slope, low_offset, high_slope, high_offset = (x[:, part.support] for x in relaxed)
    slope = part.slope * np.where(part.slope > 0, low_slope[:, None], high_slope[:, None])
    constant = (np.minimum(part.slope, 0) @ high_offset[:, :, None])[..., 0]
    if low_offset.any():
        constant = constant + (np.maximum(part.slope, 0) @ low_offset[:, :, None])[..., 0]
    return Part(slope, part.support), constant


def through_choice(part: Part, node: Maximum, relaxed: Choice) -> tuple[Part, np.ndarray]:
    """Coefficients on a maximum as coefficients on its input, and constants [b, r]."""
    low, high, top = (x[:, part.support] for x in relaxed)
    window = node.window[part.support]
    support = np.unique(window[window >= 0])
    positive = np.maximum(part.slope, 0)
    negative = part.slope - positive
    slope = np.zeros((len(low), part.slope.shape[1], len(support)))
    for tap in range(window.shape[1]):
        seen = window[:, tap] >= 0
        if not seen.any():
            continue
        below, equal = ((x == tap)[:, None] for x in (low, high))
        share = positive * below + negative * equal
        place = np.searchsorted(support, window[seen, tap])
        slope[:, :, place] += share[:, :, seen]  # at one tap, no two outputs see the same entry
    bounded = np.where(high < 0, top, 0.0)
    return Part(slope, support), (negative @ bounded[:, :, None])[..., 0]
