"""Whether a network's probabilities mean what they say. NumPy, float64; logits are [n, c] of one
network.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar

from kd.metrics.scores import accuracy, log_softmax, nll


class Reliability(NamedTuple):
    """Bins of confidence: count of examples, and where that is not 0 the mean confidence and the
    accuracy, else nan.
    """

    count: np.ndarray  # [b]
    confidence: np.ndarray  # [b]
    accuracy: np.ndarray  # [b]


def reliability(
    logits: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"], bins: int = 15
) -> Reliability:
    """Examples in `bins` bins of equal width of the largest probability; bin i holds (i / bins, (i
    + 1) / bins].
    """
    p = np.exp(log_softmax(logits))
    top, right = p.max(axis=-1), (p.argmax(axis=-1) == label).astype(float)
    place = np.clip(np.ceil(top * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    share = np.where(count > 0, count, np.nan)
    sums = [np.bincount(place, weights=w, minlength=bins) for w in (top, right)]
    return Reliability(count, sums[0] / share, sums[1] / share)


def ece(logits: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"], bins: int = 15) -> float:
    """Expected calibration error, in [0, 1]: mean distance of accuracy and confidence over
    `reliability`'s bins.

    Guo et al. On Calibration of Modern Neural Networks. ICML 2017.
    https://arxiv.org/abs/1706.04599, Eq. 3.
    """
    found = reliability(logits, label, bins)
    gap = np.nan_to_num(np.abs(found.accuracy - found.confidence))
    return float(found.count @ gap / len(label))


def brier(logits: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"]) -> float:
    """Mean squared distance of the probabilities from one-hot labels, summed over classes: in [0,
    2]; Brier 1950.
    """
    p = np.exp(log_softmax(logits))
    return float(np.mean(np.sum((p - np.eye(p.shape[-1])[label]) ** 2, axis=-1)))


def temperature(logits: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"]) -> float:
    """The t in [0.01, 100] for which logits / t have the least NLL (Guo et al. 2017, section 4.2).

    Fit it on data that neither trained the network nor evaluate it.
    """

    def loss(log_t: float) -> float:
        return float(nll(logits[None] / np.exp(log_t), label).mean())

    limit = np.log(100)
    found = minimize_scalar(loss, bounds=(-limit, limit), method="bounded")
    return float(np.exp(found.x))


def figures(logits: Float[np.ndarray, "s n c"], label: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Means over s, by name. `excess` is the mean confidence less the accuracy: how much too
    sure.
    """
    confidence = np.exp(log_softmax(logits)).max(axis=-1)
    return {
        "ece": float(np.mean([ece(own, label) for own in logits])),
        "nll": float(nll(logits, label).mean()),
        "brier": float(np.mean([brier(own, label) for own in logits])),
        "excess": float(confidence.mean() - accuracy(logits, label).mean()),
    }


def diagram(logits: Float[np.ndarray, "s n c"], label: Int[np.ndarray, " n"]) -> dict[str, list]:
    """`reliability` over the answers of all s, as lists; None for a bin's mean where it is
    empty.
    """
    every = logits.reshape(-1, logits.shape[-1])
    found = reliability(every, np.tile(label, len(logits)))
    bins = [[None if np.isnan(v) else float(v) for v in values] for values in found]
    return dict(zip(Reliability._fields, bins, strict=True))
