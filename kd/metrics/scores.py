"""Scores of predictions, in NumPy and float64, for tables, reports and learning curves.

Fractions are in [0, 1]. Logits are [..., n, c] with any leading axes (seeds, members); each
function reduces the n examples.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from kd.metrics import classes

type Logits = Float[np.ndarray, "... n c"]
type Values = Float[np.ndarray, "..."]


def log_softmax(logits: Logits) -> Logits:
    """Log probabilities, float64."""
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def mean_probs(
    logits: Float[np.ndarray, "m n c"], weights: Sequence[float] | None = None
) -> Float[np.ndarray, "n c"]:
    """Logits of an ensemble: log of the members' mean probability, with weights [m] or equal."""
    log_p = log_softmax(logits)
    if weights is not None:  # a member of weight 0 may be the most confident
        log_p, weights = log_p[np.asarray(weights) > 0], [w for w in weights if w > 0]
    top = log_p.max(axis=0)
    return top + np.log(np.average(np.exp(log_p - top), axis=0, weights=weights))


def accuracy(logits: Logits, label: Int[np.ndarray, " n"]) -> Values:
    """Fraction of examples whose largest logit is the label's."""
    return np.mean(logits.argmax(-1) == label, axis=-1, dtype=np.float64)


def nll(logits: Logits, label: Int[np.ndarray, " n"]) -> Values:
    """Mean negative log likelihood of the label, in nats."""
    log_p = log_softmax(logits)
    index = np.broadcast_to(label, log_p.shape[:-1])[..., None]
    return -np.mean(np.take_along_axis(log_p, index, -1)[..., 0], axis=-1)


def agreement(logits: Logits, target: Logits) -> Values:
    """Fraction of examples on which both predict the same class.

    Stanton et al. Does Knowledge Distillation Really Work? NeurIPS 2021.
    https://arxiv.org/abs/2106.05945, Eq. 4.
    """
    return np.mean(logits.argmax(-1) == target.argmax(-1), axis=-1, dtype=np.float64)


def kl(logits: Logits, target: Logits) -> Values:
    """Mean KL(softmax(target) || softmax(logits)), in nats; Stanton et al. 2021, Eq. 5."""
    log_p, log_q = log_softmax(logits), log_softmax(target)
    return np.mean(np.sum(np.exp(log_q) * (log_q - log_p), axis=-1), axis=-1)


def evaluate(
    logits: Logits, label: Int[np.ndarray, " n"], target: Logits | None
) -> dict[str, list[float]]:
    """`accuracy`, `balanced_accuracy` and `nll`, with a target also `agreement` and `kl`: a list
    over seeds of each.
    """
    metrics = {
        "accuracy": accuracy(logits, label),
        "balanced_accuracy": classes.balanced_accuracy(classes.confusion(logits, label)),
        "nll": nll(logits, label),
    }
    if target is not None:
        metrics |= {"agreement": agreement(logits, target), "kl": kl(logits, target)}
    return {name: [float(v) for v in values] for name, values in metrics.items()}
