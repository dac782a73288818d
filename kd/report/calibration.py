"""Calibration: whether a network's confidence is its accuracy. NumPy, float64.

Logits are [n, c] of one network unless said otherwise.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar

from kd.metrics.calibration import Reliability, ece, reliability
from kd.metrics.scores import accuracy, log_softmax, nll


def brier(logits: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"]) -> float:
    """Brier score in [0, 2]: squared distance of the probabilities from one-hot labels, summed over
    classes, mean over examples. Brier. Monthly Weather Review 78, 1950.
    """
    p = np.exp(log_softmax(logits))
    return float(np.mean(np.sum((p - np.eye(p.shape[-1])[label]) ** 2, axis=-1)))


def temperature(logits: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"]) -> float:
    """The t in [0.01, 100] that minimises the NLL of logits / t (Guo et al. 2017, section 4.2).

    Fit it on data that neither trained the network nor evaluates it.
    """

    def loss(log_t: float) -> float:
        return float(nll(logits[None] / np.exp(log_t), label).mean())

    limit = np.log(100)
    best = minimize_scalar(loss, bounds=(-limit, limit), method="bounded")
    return float(np.exp(best.x))


def figures(logits: Float[np.ndarray, "s n c"], label: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Means over s by name. `excess` is the mean confidence less the accuracy: overconfidence."""
    confidence = np.exp(log_softmax(logits)).max(axis=-1)
    return {
        "ece": float(np.mean([ece(z, label) for z in logits])),
        "nll": float(nll(logits, label).mean()),
        "brier": float(np.mean([brier(z, label) for z in logits])),
        "excess": float(confidence.mean() - accuracy(logits, label).mean()),
    }


def diagram(logits: Float[np.ndarray, "s n c"], label: Int[np.ndarray, " n"]) -> dict[str, list]:
    """`reliability` over the predictions of all s, as lists; None for the means of empty bins."""
    together = reliability(logits.reshape(-1, logits.shape[-1]), np.tile(label, len(logits)))
    bins = [[None if np.isnan(v) else float(v) for v in values] for values in together]
    return dict(zip(Reliability._fields, bins, strict=True))
