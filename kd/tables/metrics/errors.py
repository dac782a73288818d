"""Number of wrong predictions."""

import numpy as np

from kd.tables.metric import PerNetwork

metric = PerNetwork(
    lambda network: np.sum(network.wrong),
    unit="errors",
    digits=1,
    better="lower",
    scores=lambda network: network.wrong * float(network.wrong.size),
)
