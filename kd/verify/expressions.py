"""Values of a trace as affine functions of a graph's nodes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse


@dataclasses.dataclass(frozen=True, eq=False)
class Expression:
    """An affine function of nodes, not yet a node: of `shape`, with the fields of `Affine`."""

    shape: tuple[int, ...]
    inputs: tuple[int, ...]
    matrices: tuple[sparse.csr_array, ...]
    bias: np.ndarray
    magnitude: np.ndarray
    operations: int = 0
    is_node: bool = False
    layer: str = ""  # of the last matrix

    @property
    def size(self) -> int:
        return len(self.bias)


def limits(name: str, operands: Sequence[Any]) -> tuple[Any, Any]:
    """Low and high of a clipping at constants."""
    if name == "clamp":
        return operands[0], operands[2]
    constant = next(x for x in operands if not isinstance(x, Expression))
    return (constant, np.inf) if name == "max" else (-np.inf, constant)


def is_selection(matrix: sparse.csr_array) -> bool:
    """Whether each row has one entry at most."""
    return bool(np.diff(matrix.indptr).max(initial=0) <= 1)
