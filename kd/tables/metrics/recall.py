"""Recall in %: the part of a class's examples that are predicted as the class.

The mean over the classes of `of=...`, or over all (macro average).
"""

from functools import partial

from kd.tables.metric import PerNetwork, score_of_classes

metric = PerNetwork(
    partial(score_of_classes, name="recall"), unit="%", digits=2, better="higher", by_class=True
)
