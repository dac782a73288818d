"""Metrics of tables: one file per metric, `errors.py` for `metric="errors"`.

A file defines `metric`, a `PerNetwork` or a `PerRun` of `kd.tables.metric`. A new metric is one new
file; an experiment may also name a function by its dotted path, such as `my_project.metrics.f1`.
"""
