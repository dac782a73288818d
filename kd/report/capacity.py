"""How much of its width a network uses: units that never change, and the effective rank of a
stage.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Capacity(NamedTuple):
    """Of one stage: its units (channels of a map), how many are dead, and its effective rank, from
    1 to `units`.
    """

    units: int
    dead: int
    rank: float


def capacity(features: Float[np.ndarray, "n ... d"]) -> Capacity:
    """Of a stage's activations; the places of a map count as examples of its channels."""
    rows = features.reshape(-1, features.shape[-1]).astype(np.float64)
    return Capacity(rows.shape[1], dead(rows), effective_rank(rows))


def dead(rows: Float[np.ndarray, "n d"]) -> int:
    """Units that say the same of every example: behind a ReLU those that are never above zero."""
    return int(np.sum(rows.max(axis=0) == rows.min(axis=0)))


def effective_rank(rows: Float[np.ndarray, "n d"]) -> float:
    """exp of the entropy of the singular values' shares, the mean taken off; 0 where nothing
    varies.

    Roy, Vetterli. The effective rank: a measure of effective dimensionality. EUSIPCO 2007,
    Definition 1.
    """
    centred = rows - rows.mean(axis=0)
    # Through the [d, d] products: of a map there are far more places than channels.
    squares = np.linalg.eigvalsh(centred.T @ centred)
    values = np.sqrt(np.maximum(squares, 0))
    if values.sum() == 0:
        return 0.0
    share = values / values.sum()
    share = share[share > 1e-9]
    return float(np.exp(-np.sum(share * np.log(share))))
