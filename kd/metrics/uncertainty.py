"""Uncertainty of predictions, split into parts, and how well it detects foreign images.

In nats; NumPy and SciPy.

    total = H(mean_m p_m)        expected = mean_m H(p_m)        mutual = total - expected

Total is the entropy of the prediction. Expected entropy is uncertainty that the members see in the
data, mutual information their disagreement: Depeweg et al. 2018,
https://arxiv.org/abs/1710.07283; Malinin, Gales 2018, https://arxiv.org/abs/1802.10501.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import digamma
from scipy.stats import rankdata

from kd.metrics.scores import log_softmax, mean_probs


class Uncertainty(NamedTuple):
    """The uncertainty of each example, [n], in nats."""

    total: Float[np.ndarray, " n"]
    expected: Float[np.ndarray, " n"]
    mutual: Float[np.ndarray, " n"]


def entropy(logits: Float[np.ndarray, "... n c"]) -> Float[np.ndarray, "... n"]:
    """H(softmax(logits))."""
    log_p = log_softmax(logits)
    return -np.sum(np.exp(log_p) * log_p, axis=-1)


def of_members(
    logits: Float[np.ndarray, "m n c"], weights: Sequence[float] | None = None
) -> Uncertainty:
    """Of an ensemble, or of the heads of one network, with weights [m] or equal."""
    total = entropy(mean_probs(logits, weights))
    expected = np.average(entropy(logits), axis=0, weights=weights)
    return Uncertainty(total, expected, np.maximum(total - expected, 0.0))


def of_dirichlet(logits: Float[np.ndarray, "n c"]) -> Uncertainty:
    """Of a Dirichlet distribution with concentrations a = exp(logits).

    Means are over its p in place of members.

    expected = -sum_c a_c / a_0 (digamma(a_c + 1) - digamma(a_0 + 1)), a_0 = sum_c a_c.
    """
    a = np.exp(np.asarray(logits, np.float64))
    a_0 = a.sum(axis=-1, keepdims=True)
    inner = digamma(a + 1) - digamma(a_0 + 1)
    expected = -np.sum(a / a_0 * inner, axis=-1)
    total = entropy(logits)
    return Uncertainty(total, expected, np.maximum(total - expected, 0.0))


def auroc(familiar: Float[np.ndarray, " n"], foreign: Float[np.ndarray, " k"]) -> float:
    """Probability that a foreign example's value is larger than a familiar one's; ties are half."""
    n, k = len(familiar), len(foreign)
    ranks = rankdata(np.concatenate([familiar, foreign]))
    return float((ranks[n:].sum() - k * (k + 1) / 2) / (n * k))


def rank_correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation; 0 if one of the two is constant."""
    ranks = rankdata(a) - (len(a) + 1) / 2, rankdata(b) - (len(b) + 1) / 2
    scale = np.sqrt(np.sum(ranks[0] ** 2) * np.sum(ranks[1] ** 2))
    return float(np.sum(ranks[0] * ranks[1]) / scale) if scale > 0 else 0.0
