"""Negative log-likelihood of the labels, mean over the examples."""

from kd.tables.metric import PerRun

metric = PerRun(lambda run: run.final("nll"), unit="nats", digits=4, better="lower")
