"""Percentage of test images whose class is proved to be the label in a whole ball (`kd verify`)."""

from functools import partial

from kd.tables import certificates
from kd.tables.metric import PerRun

metric = PerRun(
    partial(certificates.shares, without="refuted open"),
    unit="%",
    digits=1,
    keywords=("radius",),
    better="higher",
)
