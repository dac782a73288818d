"""How much of its width a stage uses: dead units and effective rank."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Capacity(NamedTuple):
    """A stage: its units (channels of a map), dead units, and effective rank in [1, `units`]."""

    units: int
    dead: int
    rank: float


def capacity(features: Float[np.ndarray, "n ... d"]) -> Capacity:
    """Capacity from a stage's activations; each position of a map is an example of its channels."""
    rows = features.reshape(-1, features.shape[-1]).astype(np.float64)
    return Capacity(rows.shape[1], dead(rows), effective_rank(rows))


def dead(rows: Float[np.ndarray, "n d"]) -> int:
    """Number of units with the same value for every example: after a ReLU, never above zero."""
    return int(np.sum(rows.max(axis=0) == rows.min(axis=0)))


def effective_rank(rows: Float[np.ndarray, "n d"]) -> float:
    """exp of the entropy of the normalised singular values of the centred rows; 0 if all are equal.

    Roy, Vetterli. The effective rank: a measure of effective dimensionality. EUSIPCO 2007,
    Definition 1.
    """
    centred = rows - rows.mean(axis=0)
    # Through the [d, d] products: a map has far more positions than channels.
    squares = np.linalg.eigvalsh(centred.T @ centred)
    values = np.sqrt(np.maximum(squares, 0))
    if values.sum() == 0:
        return 0.0
    p = values / values.sum()
    p = p[p > 1e-9]
    return float(np.exp(-np.sum(p * np.log(p))))
