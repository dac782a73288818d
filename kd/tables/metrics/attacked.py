"""Percentage of test images of whose ball no image was found that gets another class."""

from functools import partial

from kd.tables import certificates
from kd.tables.metric import PerRun

metric = PerRun(
    partial(certificates.shares, without="refuted"),
    unit="%",
    digits=1,
    keywords=("radius",),
    better="higher",
)
