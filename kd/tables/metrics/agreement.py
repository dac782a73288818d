"""Percentage of examples on which the student predicts the same class as its teacher."""

from kd.tables.metric import PerRun

metric = PerRun(lambda run: run.final("agreement", 100), unit="%", digits=2, better="higher")
