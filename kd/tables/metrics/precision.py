"""Precision in %: the part of the predictions of a class that are right.

The mean over the classes of `of=...`, or over all (macro average).
"""

from functools import partial

from kd.tables.metric import PerNetwork, score_of_classes

metric = PerNetwork(
    partial(score_of_classes, name="precision"), unit="%", digits=2, better="higher", by_class=True
)
