"""Accuracy on corrupted test images in %, the mean over five kinds in five severities."""

from kd.tables import corruption
from kd.tables.metric import PerRun

metric = PerRun(
    corruption.accuracy, unit="%", digits=2, better="higher", scores=corruption.per_example
)
