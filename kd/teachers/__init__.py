"""Teachers: where the target outputs come from. Imports no jax before a name is used.

A teacher is three pure functions, see `kd.types.Teacher`. A kind that a config can name is a file
of this package with a `KIND`, see `kd.teachers.kind`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kd.teachers.frozen_network import frozen as frozen
    from kd.teachers.kind import Context as Context
    from kd.teachers.kind import Kind as Kind
    from kd.teachers.logit_cache import cached as cached
    from kd.teachers.moving_average import ema as ema
    from kd.teachers.no_teacher import none as none
    from kd.teachers.reduction import Reduction as Reduction
    from kd.teachers.stacked import Group as Group
    from kd.teachers.stacked import ensemble as ensemble
    from kd.teachers.stacked import grouped as grouped
    from kd.teachers.stacked import stack as stack

_FILES = {
    "Context": "kind",
    "Group": "stacked",
    "Kind": "kind",
    "Reduction": "reduction",
    "cached": "logit_cache",
    "ema": "moving_average",
    "ensemble": "stacked",
    "frozen": "frozen_network",
    "grouped": "stacked",
    "none": "no_teacher",
    "stack": "stacked",
}
"""Public names and their files. No name equals a file's: importing the file would replace it."""


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILES})
