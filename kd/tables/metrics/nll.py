"""Negative log-likelihood of the labels (log loss), mean over the examples."""

import numpy as np
from jaxtyping import Float

from kd.metrics.scores import log_softmax
from kd.tables.metric import Network, PerNetwork


def per_example(network: Network) -> Float[np.ndarray, " n"]:
    """-log p(label) of each example, in nats."""
    return -log_softmax(network.logits)[np.arange(len(network.label)), network.label]


metric = PerNetwork(
    lambda network: np.mean(per_example(network)),
    unit="nats",
    digits=4,
    better="lower",
    scores=per_example,
)
