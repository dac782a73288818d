"""KL(teacher || student) of the predicted probabilities, mean over the examples."""

from kd.tables.metric import PerRun

metric = PerRun(lambda run: run.final("kl"), unit="nats", digits=4, better="lower")
