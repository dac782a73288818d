"""Expected calibration error in %, see `kd.metrics.calibration.ece`."""

from kd.metrics.calibration import ece
from kd.tables.metric import PerNetwork

metric = PerNetwork(
    lambda network: 100 * ece(network.logits, network.label), unit="%", digits=2, better="lower"
)
