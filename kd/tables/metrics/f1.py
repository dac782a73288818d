"""F1 in %: the harmonic mean of a class's recall and precision.

The mean over the classes of `of=...`, or over all (macro average).
"""

from functools import partial

from kd.tables.metric import PerNetwork, score_of_classes

metric = PerNetwork(
    partial(score_of_classes, name="f1"), unit="%", digits=2, better="higher", by_class=True
)
