"""The pure functions of all objectives, by name.

    from kd.losses import distill_kl

Each stands at the top of its method's file in `kd.objectives` and is imported from there at first
use. Losses take arrays in the shapes of their annotations and return one number per example, [b],
or a scalar where the method compares examples; computation is in float32. The letters of shapes
are those of `kd.types`. Examples in docstrings assume `import jax.numpy as jnp` and show three
digits.
"""

from importlib import import_module
from typing import Any

from kd.errors import unknown
from kd.objectives import functions


def __getattr__(name: str) -> Any:
    if name == "__all__":  # `from kd.losses import *` asks for it
        return sorted(functions())
    if name.startswith("_") or name not in functions():
        raise AttributeError(str(unknown("function of kd.losses", name, functions())))
    return getattr(import_module(f"kd.objectives.{functions()[name]}"), name)


def __dir__() -> list[str]:
    return sorted(functions())
