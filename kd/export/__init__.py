"""Exports of a finished student: files for other runtimes, checked against the network."""
