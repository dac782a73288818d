"""Balanced accuracy in %: the mean of the recalls of all classes."""

from kd.metrics import classes
from kd.tables.metric import Network, PerNetwork


def balanced_accuracy(network: Network) -> float:
    """Of the examples that are evaluated, in %."""
    matrix = classes.confusion(network.logits, network.label)
    return 100 * float(classes.balanced_accuracy(matrix))


metric = PerNetwork(balanced_accuracy, unit="%", digits=2, better="higher")
