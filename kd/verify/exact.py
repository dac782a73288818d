"""The least margin of a network over a box, as a mixed-integer linear program (HiGHS in SciPy).

Tjeng, Xiao, Tedrake. Evaluating Robustness of Neural Networks with Mixed Integer Programming. ICLR
2019. https://arxiv.org/abs/1711.07356.
"""

import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.optimize import Bounds as Limits
from scipy.optimize import LinearConstraint, milp

from kd.verify.bounds import Balls, Bounds
from kd.verify.graph import Affine, Clip, Graph, Maximum, gathered

TOLERANCE = 1e-6
"""HiGHS lets a constraint be violated by this much, in the unit of the program's variables."""

INFEASIBLE = 2
"""Status of `scipy.optimize.milp`."""


class Answer(NamedTuple):
    """What the program found about one image.

    Attributes:
      bound: lower bounds of the margins [c]; infinity for the class itself.
      image: an image with a margin of at most `enough`, or None.
    """

    bound: Float[np.ndarray, " c"]
    image: np.ndarray | None


def least_margins(
    graph: Graph,
    ball: Balls,
    bounds: Bounds,
    target: int,
    known: Float[np.ndarray, " c"],
    enough: Float[np.ndarray, " c"],
    seconds: float,
) -> Answer:
    """Exact margins of one image against the classes that are still open.

    Args:
      graph: the network.
      ball: of one image, a box.
      bounds: of all nodes for this image.
      target: the class.
      known: lower bounds of the margins.
      enough: margins above these need not be known exactly.
      seconds: for all programs together.
    """
    end = time.monotonic() + seconds
    program = _Program(graph, ball, bounds)
    best = known.copy()
    for k in np.argsort(known):
        left = end - time.monotonic()
        if known[k] > enough[k] or k == target or left <= 0:
            continue
        bound, image = program.least(target, int(k), enough[k], left)
        best[k] = max(best[k], bound)
        if image is not None:
            return Answer(best, image)
    return Answer(best, None)


class _Program:
    """Variables: the values of all nodes, and binary ones for entries that are not linear."""

    def __init__(self, graph: Graph, ball: Balls, bounds: Bounds):
        self._starts = np.cumsum([0, *(node.size for node in graph.nodes)])
        self._low, self._high = (
            np.concatenate([x[0] for x in side]) for side in (bounds.low, bounds.high)
        )
        self._nodes, self._binary = len(self._low), 0
        self._ball, self._logits = ball, int(self._starts[-2])
        self._tolerance = _tolerance(graph, bounds)
        self._entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._sides: list[tuple[np.ndarray, np.ndarray]] = []
        self._height = 0
        for i, node in enumerate(graph.nodes):
            place = int(self._starts[i])
            if isinstance(node, Affine):
                self._affine(node, place)
            elif isinstance(node, Clip):
                for j in range(node.size):
                    source = int(self._starts[node.inputs[0]]) + j
                    self._clip(source, place + j, float(node.low[j]), float(node.high[j]))
            elif isinstance(node, Maximum):
                for j, window in enumerate(node.window):
                    seen = int(self._starts[node.inputs[0]]) + window[window >= 0]
                    self._maximum(seen, place + j)

    def least(
        self, target: int, other: int, enough: float, seconds: float
    ) -> tuple[float, np.ndarray | None]:
        """A lower bound of logit `target` minus logit `other` where that is at most `enough`, and
        an image where the difference is small.
        """
        columns = self._logits + np.array([target, other])
        tolerance = float(self._tolerance[target] + self._tolerance[other])
        margin = (np.zeros(2, int), columns, np.array([1.0, -1.0]))
        matrix, low, high = self._constraints(margin, enough + tolerance)
        count = self._nodes + self._binary
        objective = np.zeros(count)
        objective[columns] = 1.0, -1.0
        binary = np.concatenate([np.zeros(self._nodes), np.ones(self._binary)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = milp(
                objective,
                integrality=binary,
                bounds=Limits(
                    np.concatenate([self._low, np.zeros(self._binary)]),
                    np.concatenate([self._high, np.ones(self._binary)]),
                ),
                constraints=LinearConstraint(matrix, low, high),
                options={"time_limit": seconds, "mip_rel_gap": 1e-6},
            )
        if result.status == INFEASIBLE:
            return enough, None
        bound = result.get("mip_dual_bound")
        bound = -np.inf if bound is None else float(bound) - tolerance
        if result.x is None:
            return bound, None
        image = result.x[: self._ball.image.shape[1]]
        return bound, np.clip(image, self._ball.low[0], self._ball.high[0])

    def _affine(self, node: Affine, place: int) -> None:
        """y - sum_i W_i x_i = bias."""
        n = node.size
        entries = [(np.arange(n), place + np.arange(n), np.ones(n))]
        for weights, source in zip(node.weights, node.inputs, strict=True):
            coo = weights.matrix.tocoo()
            entries.append((coo.row, int(self._starts[source]) + coo.col, -coo.data))
        row, column, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
        self._add(row, column, value, node.bias, node.bias)

    def _clip(self, x: int, y: int, least: float, most: float) -> None:
        """y = min(max(x, least), most), of which the bounds of y know that it lies between."""
        low, high = float(self._low[x]), float(self._high[x])
        if high <= least or low >= most:
            return  # a constant: the bounds of y say so
        is_low, is_high = low < least, high > most
        if is_low:  # z = 1: x is at least `least`
            z, top = self._new(), min(high, most)
            self._row([(y, 1), (x, -1), (z, least - low)], -np.inf, least - low)
            self._row([(y, 1), (z, least - top)], -np.inf, least)
        else:
            self._row([(y, 1), (x, -1)], -np.inf, 0)
        if is_high:  # z = 1: x is at most `most`
            z, bottom = self._new(), max(low, least)
            self._row([(y, 1), (x, -1), (z, most - high)], most - high, np.inf)
            self._row([(y, 1), (z, most - bottom)], most, np.inf)
        else:
            self._row([(y, 1), (x, -1)], 0, np.inf)

    def _maximum(self, seen: np.ndarray, y: int) -> None:
        """y is at least each entry, and at most the one that is chosen."""
        top, chosen = float(self._high[seen].max()), []
        for x in seen.tolist():
            self._row([(y, 1), (x, -1)], 0, np.inf)
            if self._high[x] >= self._low[seen].max():
                z, gap = self._new(), top - float(self._low[x])
                self._row([(y, 1), (x, -1), (z, gap)], -np.inf, gap)
                chosen.append((z, 1.0))
        self._row(chosen, 1, 1)

    def _new(self) -> int:
        self._binary += 1
        return self._nodes + self._binary - 1

    def _row(self, entries: Sequence[tuple[int, float]], low: float, high: float) -> None:
        columns, values = (np.array(part) for part in zip(*entries, strict=True))
        row = np.zeros(len(entries), int)
        self._add(row, columns, values.astype(float), np.array([low]), np.array([high]))

    def _add(
        self,
        row: np.ndarray,
        column: np.ndarray,
        value: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
    ) -> None:
        self._entries.append((row + self._height, column, value))
        self._sides.append((low, high))
        self._height += len(low)

    def _constraints(
        self, margin: tuple[np.ndarray, np.ndarray, np.ndarray], most: float
    ) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
        """All rows, and last that of the margin, which is at most `most`."""
        row, column, value = margin
        entries = [*self._entries, (row + self._height, column, value)]
        row, column, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
        shape = (self._height + 1, self._nodes + self._binary)
        low, high = (np.concatenate(parts) for parts in zip(*self._sides, strict=True))
        matrix = sparse.csr_array((value, (row, column)), shape=shape)
        return matrix, np.append(low, -np.inf), np.append(high, most)


def _tolerance(graph: Graph, bounds: Bounds) -> np.ndarray:
    """How far each logit may be off in a solution that violates every constraint by `TOLERANCE`, a
    binary variable included.
    """
    error: list[Any] = [np.full(graph.nodes[0].size, TOLERANCE)]
    for node in graph.nodes[1:]:
        if isinstance(node, Affine):
            terms = zip(node.weights, node.inputs, strict=True)
            total = sum(w.magnitudes_times(error[s][None])[0] for w, s in terms)
            error.append(total + TOLERANCE)
            continue
        source = node.inputs[0]
        reach = bounds.high[source][0] - bounds.low[source][0]
        each = error[source] + TOLERANCE * (1 + reach)
        if isinstance(node, Maximum):
            each = gathered(each[None], node.window, 0.0)[0].max(axis=-1)
        error.append(each)
    return error[-1]
