"""A network as a small graph: affine maps, clippings such as ReLU, and maxima of windows.

Values are flat: a node has `size` numbers, in the order of its array. Node 0 is the image in the
unit in which it is stored (levels of pixels, or raw floats). Everything is float64; the weights are
those of the network, which are float32 and so exact.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

DENSE = 0.2
"""Matrices with a larger part of nonzero entries are multiplied as dense ones."""


class Weights:
    """A matrix [m, n] of one affine map."""

    def __init__(self, matrix: sparse.csr_array):
        self.matrix = matrix

    @functools.cached_property
    def _fast(self) -> sparse.csr_array | np.ndarray:
        return _fast(self.matrix)

    @functools.cached_property
    def _magnitudes(self) -> sparse.csr_array | np.ndarray:
        return _fast(abs(self.matrix))

    def times(self, x: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b m"]:
        """W x of each row of x."""
        return (self._fast @ x.T).T

    def magnitudes_times(self, x: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b m"]:
        """|W| x of each row of x."""
        return (self._magnitudes @ x.T).T


def _fast(matrix: sparse.csr_array) -> sparse.csr_array | np.ndarray:
    m, n = matrix.shape  # pyrefly: ignore
    return matrix.toarray() if matrix.nnz > DENSE * m * n else matrix


@dataclasses.dataclass(eq=False)
class Image:
    """The input."""

    size: int
    layer: str = "the image"
    inputs: tuple[int, ...] = ()


@dataclasses.dataclass(eq=False)
class Affine:
    """A sum of linear maps of other nodes and a bias.

    Attributes:
      inputs: indices of the nodes; one may occur twice.
      weights: of each input.
      bias: [size].
      magnitude: [size], the sum of the magnitudes of all constants that were added up to the bias.
      operations: how many roundings, at most, an entry goes through where it is computed.
      layer: where in the network.
    """

    inputs: tuple[int, ...]
    weights: tuple[Weights, ...]
    bias: np.ndarray
    magnitude: np.ndarray
    operations: int
    layer: str

    @property
    def size(self) -> int:
        return len(self.bias)


@dataclasses.dataclass(eq=False)
class Clip:
    """min(max(x, low), high), entry by entry: ReLU has low 0 and high infinity."""

    inputs: tuple[int]
    low: np.ndarray
    high: np.ndarray
    layer: str

    @property
    def size(self) -> int:
        return len(self.low)


@dataclasses.dataclass(eq=False)
class Maximum:
    """The maximum over the entries `window[i]` of the input; -1 is none."""

    inputs: tuple[int]
    window: Int[np.ndarray, "m k"]
    layer: str

    @property
    def size(self) -> int:
        return len(self.window)


type Node = Image | Affine | Clip | Maximum


@dataclasses.dataclass(eq=False)
class Graph:
    """Nodes in the order of computation; the last one holds the logits."""

    nodes: list[Node]

    @property
    def classes(self) -> int:
        return self.nodes[-1].size

    @property
    def entries(self) -> int:
        """Nonzero entries of all matrices."""
        return sum(w.matrix.nnz for node in self.nodes for w in getattr(node, "weights", ()))

    def cut(self) -> Iterator[tuple[int, Clip | Maximum]]:
        """Yields the index and node of each nonlinearity."""
        for i, node in enumerate(self.nodes):
            if isinstance(node, Clip | Maximum):
                yield i, node

    def values(self, image: Float[np.ndarray, "b n"]) -> list[np.ndarray]:
        """Values of all nodes for raw images, float64 [b, size] each."""
        values: list[np.ndarray] = [image.astype(np.float64)]
        for node in self.nodes[1:]:
            values.append(value(node, [values[i] for i in node.inputs]))
        return values

    def logits(self, image: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b c"]:
        """Logits of raw images."""
        return self.values(image)[-1]


def value(node: Node, operands: Sequence[np.ndarray]) -> np.ndarray:
    """A node's value [b, size], from those of its inputs."""
    if isinstance(node, Affine):
        total = np.broadcast_to(node.bias, (len(operands[0]), node.size))
        for weights, x in zip(node.weights, operands, strict=True):
            total = total + weights.times(x)
        return total
    (x,) = operands
    if isinstance(node, Clip):
        return np.minimum(np.maximum(x, node.low), node.high)
    assert isinstance(node, Maximum)
    return gathered(x, node.window, -np.inf).max(axis=-1)


def gathered(x: Float[np.ndarray, "b n"], window: np.ndarray, missing: float) -> np.ndarray:
    """The entries of each window, [b, m, k]; `missing` where it is -1."""
    return np.where(window >= 0, x[:, np.maximum(window, 0)], missing)
