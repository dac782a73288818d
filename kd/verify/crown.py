"""Linear bounds, pulled back from the logits or a hidden unit to the image (CROWN).

Zhang, Weng, Chen, Hsieh, Daniel. Efficient Neural Network Robustness Certification with General
Activation Functions. NeurIPS 2018. https://arxiv.org/abs/1811.00866.

A unit of a convolution sees a small part of the layers below it. Units are bounded in blocks of
neighbours, and a block is pulled back through the part that it sees.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse

from kd.verify.bounds import WIDENING, Balls, Bounds, start, unstable
from kd.verify.graph import Affine, Clip, Graph, Maximum
from kd.verify.relaxation import (
    Choice,
    Lines,
    Part,
    choice,
    lines,
    through_choice,
    through_lines,
)

BLOCK = 64
"""Units of a convolution that are bounded together."""

MOST_PRODUCTS = 2e9
"""Multiply-accumulates of one image that the bounds of one layer may take; wider layers get
intervals.
"""

MOST_BYTES = 2**26
"""Memory of one array of coefficients."""


class Crown:
    """Linear bounds of one graph. Sub-matrices are kept between calls.

    Attributes:
      by_intervals: layers whose units are bounded by intervals alone, for CROWN would take more
        than `MOST_PRODUCTS`.
      products: multiply-accumulates for one image, estimated.
    """

    def __init__(self, graph: Graph, most: float = MOST_PRODUCTS):
        self.graph = graph
        self._parts: dict[tuple[int, int, bytes], tuple] = {}
        self._is_affine = _affine_of_image(graph)
        targets = {
            node.inputs[0]
            for _, node in graph.cut()
            if isinstance(graph.nodes[node.inputs[0]], Affine)
            and not self._is_affine[node.inputs[0]]
        }
        costs = {i: self._cost(i) for i in sorted(targets)}
        self._targets = {i for i in targets if costs[i] <= most}
        self.by_intervals = [graph.nodes[i].layer for i in sorted(targets - self._targets)]
        classes = np.arange(graph.classes)
        last = self._products(len(graph.nodes) - 1, classes) * graph.classes
        self.products = last + sum(costs[i] for i in self._targets)

    def bounds(self, balls: Balls) -> Bounds:
        """Bounds of all nodes: those of a nonlinearity's input pulled back, and the better of these
        and intervals.
        """
        relaxed: dict[int, Lines | Choice] = {}
        limits = start(balls)
        for i, node in enumerate(self.graph.nodes[1:], 1):
            limits.add(node)
            is_direct = self._is_affine[i] and self._feeds(i)  # exact by intervals in a box
            if i in self._targets or (balls.radius is not None and is_direct):
                self._tighten(i, balls, limits, relaxed)
            if isinstance(node, Clip | Maximum):
                source = node.inputs[0]
                relax = lines if isinstance(node, Clip) else choice
                relaxed[i] = relax(node, limits.low[source], limits.high[source])  # pyrefly: ignore
        return limits

    def margins(self, balls: Balls, bounds: Bounds, target: np.ndarray) -> Float[np.ndarray, "b c"]:
        """Lower bounds of logit `target` minus each other logit; infinity for itself."""
        c = self.graph.classes
        unit = np.eye(c)
        rows = unit[target][:, None, :] - unit[None]
        low = self.combination(balls, bounds, rows)
        low[np.arange(len(target)), target] = np.inf
        return low

    def combination(
        self, balls: Balls, bounds: Bounds, rows: Float[np.ndarray, "b r c"]
    ) -> Float[np.ndarray, "b r"]:
        """Lower bounds of combinations of the logits over each ball."""
        slope, support, constant = self.pulled(bounds, rows)
        return balls.least(slope, support) + constant

    def pulled(
        self,
        bounds: Bounds,
        rows: Float[np.ndarray, "b r c"],
        relaxed: Mapping[int, Lines | Choice] | None = None,
        seen: dict[int, np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Linear functions of the image below combinations of the logits.

        Args:
          bounds: of all nodes.
          rows: the combinations.
          relaxed: bounds of the nonlinearities; None for `relaxed_by` the bounds.
          seen: gets the coefficients [b, size] of the first combination on each nonlinearity.

        Returns:
          their coefficients [b, r, s], the entries of the image that these are of [s], and
          constants [b, r].
        """
        relaxed = relaxed_by(self.graph, bounds) if relaxed is None else relaxed
        first = Part(rows, np.arange(self.graph.classes))
        return self._pull(len(self.graph.nodes) - 1, first, relaxed, seen)

    def _feeds(self, i: int) -> bool:
        return any(i == node.inputs[0] for _, node in self.graph.cut())

    def _tighten(
        self, i: int, balls: Balls, limits: Bounds, relaxed: Mapping[int, Lines | Choice]
    ) -> None:
        """Improves the bounds of those units of a node that intervals leave undecided."""
        low, high = limits.low[i].copy(), limits.high[i].copy()
        users = [node for _, node in self.graph.cut() if node.inputs[0] == i]
        open_ = np.zeros(low.shape[1], bool)
        for node in users:
            if isinstance(node, Clip):
                open_ |= unstable(node, low, high).any(axis=0)
            else:
                open_[:] = True
        for rows in _blocks(np.flatnonzero(open_), self._block(i)):
            unit = np.eye(len(rows))
            both = Part(np.concatenate([unit, -unit])[None], rows)
            slope, support, constant = self._pull(i, both, relaxed)
            bound = balls.least(slope, support) + constant
            widening = WIDENING * limits.error[i][:, rows]
            low[:, rows] = np.maximum(low[:, rows], bound[:, : len(rows)] - widening)
            high[:, rows] = np.minimum(high[:, rows], widening - bound[:, len(rows) :])
        limits.low[i], limits.high[i] = low, np.maximum(low, high)

    def _pull(
        self,
        node: int,
        first: Part,
        relaxed: Mapping[int, Lines | Choice],
        seen: dict[int, np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pulls coefficients on a node back to the image; returns those, support, constants."""
        pending = {node: first}
        constant: np.ndarray = np.zeros((1, first.slope.shape[1]))
        for i in range(node, 0, -1):
            if i not in pending:
                continue
            part, below = pending.pop(i), self.graph.nodes[i]
            if seen is not None and not isinstance(below, Affine):
                seen[i] = np.zeros((len(part.slope), below.size))
                seen[i][:, part.support] = part.slope[:, 0]
            if isinstance(below, Affine):
                constant = constant + part.slope @ below.bias[part.support]
                for term, source in enumerate(below.inputs):
                    matrix, support = self._part(i, term, part.support)
                    _merge(pending, source, Part(_times(part.slope, matrix), support))
            elif isinstance(below, Clip):
                part, offset = through_lines(part, relaxed[i])  # pyrefly: ignore
                constant = constant + offset
                _merge(pending, below.inputs[0], part)
            else:
                part, offset = through_choice(part, below, relaxed[i])  # pyrefly: ignore
                constant = constant + offset
                _merge(pending, below.inputs[0], part)
        slope, support = pending.get(0) or Part(np.zeros((1, 1, 1)), np.zeros(1, int))
        return slope, support, constant

    def _part(self, node: int, term: int, support: np.ndarray) -> tuple:
        """The rows `support` of a matrix, without empty columns, and the columns that are left."""
        key = (node, term, support.tobytes())
        if key not in self._parts:
            rows = self.graph.nodes[node].weights[term].matrix[support]  # pyrefly: ignore
            columns = np.unique(rows.indices)
            part = rows[:, columns]
            is_dense = part.nnz > 0.02 * np.prod(part.shape) and np.prod(part.shape) < 4e6
            self._parts[key] = (part.toarray() if is_dense else part.tocsr(), columns)
        return self._parts[key]

    def _block(self, node: int) -> int:
        """How many units of a node are bounded together."""
        first = self.graph.nodes[node]
        sparse_rows = isinstance(first, Affine) and any(
            w.matrix.nnz < 0.2 * w.matrix.shape[0] * w.matrix.shape[1]  # pyrefly: ignore
            for w in first.weights
        )
        return BLOCK if sparse_rows else 4 * BLOCK

    def _cost(self, node: int) -> float:
        """Products to bound all units of a node, from the block in its middle."""
        size, block = self.graph.nodes[node].size, self._block(node)
        first = max(0, size // 2 - block // 2)
        rows = np.arange(first, min(size, first + block))
        return 2.0 * size * self._products(node, rows)

    def _products(self, node: int, rows: np.ndarray) -> float:
        """Products to pull one function of these entries of a node back to the image."""
        pending, total = {node: rows}, 0.0
        for i in range(node, 0, -1):
            if i not in pending:
                continue
            support, below = pending.pop(i), self.graph.nodes[i]
            for term, source in enumerate(below.inputs):
                if isinstance(below, Affine):
                    matrix: Any = below.weights[term].matrix[support]
                    seen = np.unique(matrix.indices)
                    dense = len(support) * len(seen)
                    total += matrix.nnz if matrix.nnz < 0.02 * dense else dense
                elif isinstance(below, Maximum):
                    window = below.window[support]
                    seen = np.unique(window[window >= 0])
                else:
                    seen = support
                total += len(support)
                before = pending.get(source, np.zeros(0, int))
                pending[source] = np.union1d(before, seen)
        return total

    def batch(self) -> int:
        """How many images are bounded together."""
        widest = max(node.size for node in self.graph.nodes)
        rows = [2 * min(self._block(i), self.graph.nodes[i].size) for i in self._targets]
        most = max([*rows, self.graph.classes])
        return int(np.clip(MOST_BYTES // (8 * most * widest), 1, 256))


def relaxed_by(graph: Graph, bounds: Bounds) -> dict[int, Lines | Choice]:
    """The linear bounds of all nonlinearities within the bounds of their inputs."""
    relaxed: dict[int, Lines | Choice] = {}
    for i, node in graph.cut():
        low, high = bounds.low[node.inputs[0]], bounds.high[node.inputs[0]]
        relaxed[i] = lines(node, low, high) if isinstance(node, Clip) else choice(node, low, high)
    return relaxed


def _affine_of_image(graph: Graph) -> list[bool]:
    """Whether each node is an affine map of the image, whose intervals are exact."""
    known: list[bool] = [True]
    for node in graph.nodes[1:]:
        is_direct = set(node.inputs) == {0} and len(node.inputs) == 1
        known.append(isinstance(node, Affine) and is_direct)
    return known


def _blocks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _times(slope: np.ndarray, matrix: np.ndarray | sparse.csr_array) -> np.ndarray:
    b, r, s = slope.shape
    return np.asarray(slope.reshape(b * r, s) @ matrix).reshape(b, r, -1)


def _merge(pending: dict[int, Part], node: int, part: Part) -> None:
    """Adds coefficients on a node to those that are pending."""
    if node not in pending:
        pending[node] = part
        return
    other = pending[node]
    if np.array_equal(other.support, part.support):
        pending[node] = Part(other.slope + part.slope, part.support)
        return
    support = np.union1d(other.support, part.support)
    b, r = max(len(other.slope), len(part.slope)), part.slope.shape[1]
    slope = np.zeros((b, r, len(support)))
    for one in (other, part):
        slope[:, :, np.searchsorted(support, one.support)] += one.slope
    pending[node] = Part(slope, support)
