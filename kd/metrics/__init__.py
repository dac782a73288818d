"""Metrics of predictions, in NumPy: scores, intervals, uncertainty."""
