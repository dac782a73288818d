"""Linear bounds whose lower slopes are chosen for one margin of one image (alpha-CROWN).

Xu, Zhang, Wang, Wang, Jana, Lin, Hsieh. Fast and Complete: Enabling Complete Verification with
Rapid and Massively Parallel Incomplete Verifiers. ICLR 2021. https://arxiv.org/abs/2011.13824.

Below a clipping with a kink at its lower end, any line through the corner is a bound, so long as it
is not steeper than the line to the other end. The slopes are moved along the gradient of the bound.
Bounds of hidden units stay as they are. Whatever the slopes are, the bound is one: only the last
evaluation, in float64 like all others, counts.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from kd.robustness.relaxation import Lines
from kd.verify.bounds import Balls, Bounds
from kd.verify.crown import Crown, relaxed_by
from kd.verify.graph import Affine, Clip, Maximum
from kd.verify.relaxation import Choice

STEPS = 20
RATE, DECAY = 0.4, 0.93
MEMORY = (0.9, 0.99)
"""Of the mean gradient and of the mean square, as in Adam."""

MOST_BYTES = 2**26
"""Memory of one array of values of all pairs."""


def margins(
    crown: Crown,
    balls: Balls,
    limits: Bounds,
    target: np.ndarray,
    known: Float[np.ndarray, "b c"],
    slack: Float[np.ndarray, "b c"],
) -> Float[np.ndarray, "b c"]:
    """Better lower bounds of those margins that are not above their slack.

    Args:
      crown: of the network.
      balls: of b images.
      limits: bounds of all nodes.
      target: class of each image.
      known: lower bounds of logit `target` minus each other logit.
      slack: a margin above it is proved, and needs no better bound.

    Returns:
      `known`, improved.
    """
    best = known.copy()
    image, other = np.nonzero(known <= slack)
    widest = max(node.size for node in crown.graph.nodes)
    count = max(1, MOST_BYTES // (8 * widest))
    unit = np.eye(crown.graph.classes)
    for first in range(0, len(image), count):
        i, k = image[first : first + count], other[first : first + count]
        part = Bounds(*([x[i] for x in s] for s in (limits.low, limits.high, limits.error)))
        rows = (unit[target[i]] - unit[k])[:, None]
        reached = _climb(crown, balls[i], part, rows, slack[i, k])
        best[i, k] = np.maximum(best[i, k], reached)
    return best


def _climb(
    crown: Crown, balls: Balls, limits: Bounds, rows: np.ndarray, enough: np.ndarray
) -> Float[np.ndarray, " p"]:
    """The best bound of one combination of the logits for each ball, [p, 1, c]."""
    relaxed: dict[int, Any] = dict(relaxed_by(crown.graph, limits))
    free = {i: f for i, node in crown.graph.cut() if (f := _freedom(node, limits)) is not None}
    moments = {i: [np.zeros_like(relaxed[i].low_slope) for _ in MEMORY] for i in free}
    best = np.full(len(rows), -np.inf)
    for step in range(STEPS):
        seen: dict[int, np.ndarray] = {}
        slope, support, constant = crown.pulled(limits, rows, relaxed, seen)
        best = np.maximum(best, (balls.least(slope, support) + constant)[:, 0])
        if step == STEPS - 1 or (best > enough).all():
            break
        values = _attained(crown, balls, slope[:, 0], support, relaxed, seen)
        for i, (most, corner) in free.items():
            source = crown.graph.nodes[i].inputs[0]
            gradient = np.maximum(seen[i], 0) * (values[source] - corner) * (most > 0)
            relaxed[i] = _moved(relaxed[i], gradient, moments[i], most, corner, step)
    return best


def _freedom(node: Any, limits: Bounds) -> tuple[np.ndarray, np.ndarray] | None:
    """The steepest slope of each lower line that may turn, else 0, and its corner; None if none."""
    if not isinstance(node, Clip):
        return None
    low, high = limits.low[node.inputs[0]], limits.high[node.inputs[0]]
    below = (low < node.low) & (high > node.low)
    if not below.any():
        return None
    corner = np.where(below, node.low, 0.0)
    rise = (np.clip(high, node.low, node.high) - corner) / np.where(below, high - corner, 1.0)
    return np.where(below, rise, 0.0), corner


def _moved(
    lines: Lines,
    gradient: np.ndarray,
    moments: list[np.ndarray],
    most: np.ndarray,
    corner: np.ndarray,
    step: int,
) -> Lines:
    """The lower lines after a step of Adam, between flat and steepest."""
    for moment, keep, power in zip(moments, MEMORY, (1, 2), strict=True):
        moment *= keep
        moment += (1 - keep) * gradient**power
    first, second = (m / (1 - k ** (step + 1)) for m, k in zip(moments, MEMORY, strict=True))
    change = RATE * DECAY**step * first / (np.sqrt(second) + 1e-12)
    slope = np.clip(lines.low_slope + change, 0.0, most)
    slope = np.where(most > 0, slope, lines.low_slope)
    offset = np.where(most > 0, corner * (1 - slope), lines.low_offset)
    return lines._replace(low_slope=slope, low_offset=offset)


def _attained(
    crown: Crown,
    balls: Balls,
    slope: np.ndarray,
    support: np.ndarray,
    relaxed: dict[int, Any],
    seen: dict[int, np.ndarray],
) -> list[np.ndarray]:
    """Values of all nodes at the worst image, with the lines in place of the nonlinearities."""
    values: list[np.ndarray] = [_worst(balls, slope, support)]
    for i, node in enumerate(crown.graph.nodes[1:], 1):
        operands = [values[source] for source in node.inputs]
        if isinstance(node, Affine):
            terms = zip(node.weights, operands, strict=True)
            values.append(node.bias + sum(weights.times(x) for weights, x in terms))
            continue
        lines, x = relaxed[i], operands[0]
        up = seen.get(i, np.zeros((1, 1))) > 0
        if isinstance(node, Clip):
            low = lines.low_slope * x + lines.low_offset
            values.append(np.where(up, low, lines.high_slope * x + lines.high_offset))
        else:
            assert isinstance(node, Maximum)
            values.append(np.where(up, *_picked(node, lines, x)))
    return values


def _worst(balls: Balls, slope: np.ndarray, support: np.ndarray) -> np.ndarray:
    """The image of each ball, [p, n], where the linear function is least."""
    image = balls.image.copy()
    low, high = balls.low[:, support], balls.high[:, support]
    image[:, support] = np.where(slope > 0, low, high)
    if balls.radius is not None:
        radius = balls.radius[support]
        length = np.sqrt(((slope * radius) ** 2).sum(axis=1, keepdims=True))
        moved = balls.image[:, support] - slope * radius**2 / np.maximum(length, 1e-300)
        image[:, support] = np.clip(moved, low, high)
    return image


def _picked(node: Maximum, choice: Choice, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower and the upper bound of a maximum at the values x of its input."""
    rows = np.arange(len(x))[:, None]
    taken = lambda tap: x[rows, np.take_along_axis(node.window[None], tap[..., None], 2)[..., 0]]
    upper = np.where(choice.high < 0, choice.top, taken(np.maximum(choice.high, 0)))
    return taken(choice.low), upper
