"""Benchmarks of speed: each result is a ratio of times that were measured in alternation."""
