"""Percentage of correct predictions."""

import numpy as np

from kd.tables.metric import PerNetwork

metric = PerNetwork(
    lambda network: 100 - 100 * np.mean(network.wrong),
    unit="%",
    better="higher",
    scores=lambda network: 100.0 * ~network.wrong,
)
