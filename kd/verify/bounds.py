"""Bounds of all nodes of a graph over balls of images by intervals, and what rounding can add.

Interval bound propagation: Gowal et al. On the Effectiveness of Interval Bound Propagation for
Training Verifiably Robust Models. 2018. https://arxiv.org/abs/1810.12715.

The network computes in float32, the bounds are of its weights in exact arithmetic. `error` bounds
the difference: a running error analysis (Higham, Accuracy and Stability of Numerical Algorithms,
2002, chapter 3) that holds for sums in any order. The float64 arithmetic of the bounds themselves
goes through the same chain of operations, or one like it backwards, with roundings 2^29 times
smaller. `WIDENING` times `error` is a generous bound of them, and widens each bound.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from kd.verify.graph import Affine, Clip, Graph, Maximum, Node, gathered

UNIT = 2.0**-24
"""Relative error of one rounding to float32."""

WIDENING = 2.0**-18

SPARE = 8
"""Roundings of each affine map beyond its own: those of constants that the network computes."""


@dataclasses.dataclass(frozen=True)
class Balls:
    """For each image the set of images that a certificate is about.

    Attributes:
      image: [b, n], in the unit of the stored images.
      low, high: the box around it.
      radius: [n], that of each entry in L2, in the same unit; None for the box itself. The set is
        then the part of the ellipsoid that lies in the box.
    """

    image: Float[np.ndarray, "b n"]
    low: Float[np.ndarray, "b n"]
    high: Float[np.ndarray, "b n"]
    radius: Float[np.ndarray, " n"] | None = None

    def __getitem__(self, index: np.ndarray | slice) -> "Balls":
        """The balls of some of the images."""
        return Balls(self.image[index], self.low[index], self.high[index], self.radius)

    def __len__(self) -> int:
        return len(self.image)

    def least(
        self, slope: Float[np.ndarray, "_ r s"], support: np.ndarray
    ) -> Float[np.ndarray, "b r"]:
        """The least value of linear functions over each ball, or a bound of it from below.

        Args:
          slope: coefficients on the entries `support`; the first axis is 1 or b.
          support: indices.
        """
        low, high = self.low[:, support, None], self.high[:, support, None]
        positive = np.maximum(slope, 0)
        box = (positive @ low + (slope - positive) @ high)[..., 0]
        if self.radius is None:
            return box
        center = (slope @ self.image[:, support, None])[..., 0]
        reach = np.sqrt(((slope * self.radius[support]) ** 2).sum(-1))
        return np.maximum(box, center - reach)


@dataclasses.dataclass
class Bounds:
    """Bounds of every node: lists of [b, size], in the order of the nodes."""

    low: list[np.ndarray]
    high: list[np.ndarray]
    error: list[np.ndarray]

    def add(self, node: Node) -> None:
        """Appends the intervals of the next node."""
        lows, highs, errors = (
            [side[i] for i in node.inputs] for side in (self.low, self.high, self.error)
        )
        if isinstance(node, Affine):
            low, high, error = _affine(node, lows, highs, errors)
        elif isinstance(node, Clip):
            low, high = (np.clip(x[0], node.low, node.high) for x in (lows, highs))
            error = errors[0]
        else:
            assert isinstance(node, Maximum)
            low, high = (gathered(x[0], node.window, -np.inf).max(axis=-1) for x in (lows, highs))
            error = gathered(errors[0], node.window, 0.0).max(axis=-1)
        self.low.append(low)
        self.high.append(high)
        self.error.append(error)


def start(balls: Balls) -> Bounds:
    """The bounds of the image alone."""
    return Bounds([balls.low], [balls.high], [np.zeros_like(balls.low)])


def intervals(graph: Graph, balls: Balls) -> Bounds:
    """Bounds of all nodes, each from those of its inputs."""
    bounds = start(balls)
    for node in graph.nodes[1:]:
        bounds.add(node)
    return bounds


def _affine(
    node: Affine, lows: list[np.ndarray], highs: list[np.ndarray], errors: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    center: np.ndarray = node.bias[None]
    radius: np.ndarray = np.zeros((1, 1))
    error: np.ndarray = np.zeros((1, 1))
    size: np.ndarray = node.magnitude[None]
    for weights, low, high, before in zip(node.weights, lows, highs, errors, strict=True):
        center = center + weights.times((low + high) / 2)
        radius = radius + weights.magnitudes_times((high - low) / 2)
        error = error + weights.magnitudes_times(before)
        size = size + weights.magnitudes_times(np.maximum(-low, high) + before)
    count = (node.operations + SPARE) * UNIT
    error = error + count / (1 - count) * size
    radius = radius + WIDENING * error
    return center - radius, center + radius, error


def unstable(node: Clip, low: np.ndarray, high: np.ndarray) -> Bool[np.ndarray, "b n"]:
    """Whether an entry of a clipping between these bounds is linear on one part of them only."""
    return ((low < node.low) & (high > node.low)) | ((low < node.high) & (high > node.high))


def margins(bounds: Bounds, target: np.ndarray) -> Float[np.ndarray, "b c"]:
    """Lower bounds of logit `target` minus each other logit, by intervals; infinity for itself."""
    low, high = bounds.low[-1], bounds.high[-1]
    rows = np.arange(len(target))
    margin = low[rows, target][:, None] - high
    margin[rows, target] = np.inf
    return margin


def slack(bounds: Bounds, target: np.ndarray) -> Float[np.ndarray, "b c"]:
    """What rounding in float32 can take from each margin of `target`."""
    error = bounds.error[-1]
    return error[np.arange(len(target)), target][:, None] + error
