"""Knowledge distillation in JAX: ensembles of teachers inside one compiled step.

The names below are loaded at first use, so that `import kd` and `kd --help` import no jax:

    run, load, distill                   runs of configs, stored runs, distillation of plain objects
    make_init, make_step, make_eval      the compiled step, for a training loop of one's own
    Weighted, View, Outputs, Teacher     what objectives, networks and teachers exchange
    losses, objectives, teachers         pure functions, Flax objectives, kinds of teacher
    models, data                         networks and data sets
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kd import data, losses, models, objectives, teachers
    from kd.api import Run, distill, load, run
    from kd.errors import InputError, RunError
    from kd.init import make_init
    from kd.objective import PerTeacher, Weighted
    from kd.predict import Networks
    from kd.step import make_eval, make_step
    from kd.types import DistillState, Mixture, Outputs, Teacher, View

__version__ = "0.1.0"

__all__ = [
    "DistillState",
    "InputError",
    "Mixture",
    "Networks",
    "Outputs",
    "PerTeacher",
    "Run",
    "RunError",
    "Teacher",
    "View",
    "Weighted",
    "data",
    "distill",
    "load",
    "losses",
    "make_eval",
    "make_init",
    "make_step",
    "models",
    "objectives",
    "run",
    "teachers",
]

_MODULES = ("data", "losses", "models", "objectives", "teachers")

_HOMES = {
    "run": "kd.api",
    "load": "kd.api",
    "distill": "kd.api",
    "Run": "kd.api",
    "Networks": "kd.predict",
    "make_init": "kd.init",
    "make_step": "kd.step",
    "make_eval": "kd.step",
    "Weighted": "kd.objective",
    "PerTeacher": "kd.objective",
    "DistillState": "kd.types",
    "Mixture": "kd.types",
    "Outputs": "kd.types",
    "Teacher": "kd.types",
    "View": "kd.types",
    "InputError": "kd.errors",
    "RunError": "kd.errors",
}
"""Module of each public name."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"kd.{name}")
    if name in _HOMES:
        value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return value
    raise AttributeError(f"module 'kd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
