"""Calibration: confidence against accuracy. Logits are [n, c] of one network."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kd.metrics.scores import log_softmax


class Reliability(NamedTuple):
    """Bins of confidence: number of examples, mean confidence and accuracy, NaN in empty bins."""

    count: np.ndarray  # [b]
    confidence: np.ndarray  # [b]
    accuracy: np.ndarray  # [b]


def reliability(
    logits: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"], bins: int = 15
) -> Reliability:
    """Examples in bins of equal width by their largest probability.

    Bin i holds probabilities in (i / bins, (i + 1) / bins].
    """
    p = np.exp(log_softmax(logits))
    confidence, right = p.max(axis=-1), (p.argmax(axis=-1) == label).astype(float)
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    divisor = np.where(count > 0, count, np.nan)
    sums = [np.bincount(index, weights=w, minlength=bins) for w in (confidence, right)]
    return Reliability(count, sums[0] / divisor, sums[1] / divisor)


def ece(logits: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"], bins: int = 15) -> float:
    """Expected calibration error in [0, 1]: mean of |accuracy - confidence| over the bins.

    Guo et al. On Calibration of Modern Neural Networks. ICML 2017.
    https://arxiv.org/abs/1706.04599, Eq. 3.
    """
    diagram = reliability(logits, label, bins)
    gap = np.nan_to_num(np.abs(diagram.accuracy - diagram.confidence))
    return float(diagram.count @ gap / len(label))
