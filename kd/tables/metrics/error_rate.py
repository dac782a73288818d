"""Percentage of wrong predictions."""

import numpy as np

from kd.tables.metric import PerNetwork

metric = PerNetwork(
    lambda network: 100 * np.mean(network.wrong),
    unit="%",
    better="lower",
    scores=lambda network: 100.0 * network.wrong,
)
