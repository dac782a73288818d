"""Configs describe runs as plain data: defaults, loading, checks, identity. Imports no jax."""

from kd.config.check import leaves
from kd.config.defaults import ConfigDict, default
from kd.config.loading import call_file, complete, default_workdir, find, load, named_after

__all__ = [
    "ConfigDict",
    "call_file",
    "complete",
    "default",
    "default_workdir",
    "find",
    "leaves",
    "load",
    "named_after",
]
