"""What a name in a config must stand for: a class or function of the kind that its key wants.

Checked before anything is called, so that `data.name = "os.system"` calls nothing, whoever wrote
it. Types are compared by name, so that a check imports neither jax nor flax.
"""

import functools
import inspect
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kd.errors import InputError


class Sort(NamedTuple):
    """What things of one kind are.

    Attributes:
      expected: in words, for messages.
      classes: only subclasses of these count among classes; () for no class. Each is the beginning
        of a module and a name.
      instances: objects of these classes count, too.
      returns: names of what functions return, where they say so.
      parameters: a function that somebody else's package has must name one of these first ones to
        count, or say what it returns.
    """

    expected: str
    classes: Sequence[tuple[str, str]] = ()
    instances: Sequence[tuple[str, str]] = ()
    returns: Sequence[str] = ()
    parameters: Sequence[str] = ()


MODULE = (("flax.linen", "Module"),)
TRANSFORMATIONS = ("GradientTransformation", "GradientTransformationExtraArgs")

SORTS = {
    "model": Sort(
        "a flax.linen.Module with a setting num_classes, or a function of num_classes that returns "
        "such a module",
        classes=MODULE,
        returns=("Module",),
        parameters=("num_classes",),
    ),
    "objective": Sort(
        "a flax.linen.Module that takes a View, or a function that returns such a module",
        classes=MODULE,
        returns=("Module",),
    ),
    "data set": Sort("a function that returns a kd.data.base.Dataset", returns=("Dataset",)),
    "optimizer": Sort(
        "a function of a learning_rate that returns an optax.GradientTransformation",
        returns=TRANSFORMATIONS,
        parameters=("learning_rate",),
    ),
    "schedule": Sort("a function that returns a kd.optim.Curve", returns=("Curve",)),
    "augmentation": Sort(
        "a function of a key and an image",
        parameters=("key", "rng", "prng_key", "rng_key"),
    ),
    "mixture": Sort(
        "a function of a key and two images",
        parameters=("key", "rng", "prng_key", "rng_key"),
    ),
    "kind of teacher": Sort(
        "a kd.teachers.kind.Kind, or a function of its Context that returns a kd.Teacher",
        instances=(("kd.teachers.", "Kind"),),
        returns=("Teacher",),
    ),
    "teacher function": Sort(
        "a function of images [b, ...] that returns logits [b, c], or a Flax linen module",
        classes=MODULE,
        instances=(*MODULE, ("flax.nnx", "Module"), ("equinox", "Module")),
        returns=("Array", "ndarray", "Float", "Outputs"),
        parameters=("image", "images", "x", "inputs", "pixels"),
    ),
    "reduction": Sort(
        "a kd.teachers.reduction.Reduction, or a function (logits, weights, label) that returns "
        "kd.Outputs or a kd.Mixture",
        instances=(("kd.teachers.", "Reduction"),),
        returns=("Outputs", "Mixture"),
    ),
    "metric": Sort(
        "a kd.tables.metric.PerNetwork or PerRun, or a function of a Network that returns a number",
        instances=(("kd.tables.", "Metric"),),
        returns=("float", "int", "floating", "number"),
    ),
}
"""By what a thing is called in messages."""


def check(kind: str, name: str, value: Any) -> None:
    """Raises InputError unless `value`, which `name` stands for, is of the kind.

    Args:
      kind: a key of `SORTS`.
      name: as in the config.
      value: a class, a function, or an object; wrappers of functions are looked through.
    """
    sort = SORTS[kind]
    if any(_is_subclass(type(value), base) for base in sort.instances):
        return
    maker = _unwrapped(value)
    place = _module(maker)
    reason = ""
    if not (inspect.isclass(maker) or inspect.isfunction(maker)):
        reason = f"it is {_article(type(value).__name__)}"
    elif place.partition(".")[0] in (*sys.stdlib_module_names, "builtins"):
        reason = f"it belongs to Python itself ({place})"
    elif inspect.isclass(maker):
        if not any(_is_subclass(maker, base) for base in sort.classes):
            bases = ", ".join(f"{base.__module__}.{base.__name__}" for base in maker.__bases__)
            reason = f"it is a class that derives from {bases}"
    else:
        reason = _against(maker, sort, place)
    if reason:
        raise InputError(f"{name!r} is no {kind}: {reason}. Expected {sort.expected}.")


def _against(function: Callable, sort: Sort, place: str) -> str:
    """Why a function is not accepted; "" if it is."""
    returned = _returned(function)
    if sort.classes and isinstance(function.__annotations__.get("return"), str):
        returned = []  # the name of a subclass says nothing
    if sort.returns and returned and not {*returned} & {*sort.returns}:
        return f"it returns {_article(returned[0])}"
    if returned or place.partition(".")[0] == "kd" or not _is_installed(place):
        return ""
    parameters = list(inspect.signature(function).parameters)
    named = parameters[:1] if "key" in sort.parameters else parameters
    if any(parameter in sort.parameters for parameter in named):
        return ""
    if not sort.returns:
        return f"its first parameter is none of {', '.join(sort.parameters)}"
    return f"it does not say what it returns: annotate it, -> {sort.returns[0]}"


def _unwrapped(value: Any) -> Any:
    """The function or class below `functools.partial`, caches, `jax.jit` and other decorators."""
    for _ in range(20):
        if isinstance(value, functools.partial):
            value = value.func
        elif not inspect.isclass(value) and hasattr(value, "__wrapped__"):
            value = value.__wrapped__
        else:
            break
    return value


def _module(value: Any) -> str:
    return str(getattr(value, "__module__", None) or type(value).__module__)


def _is_subclass(value: type, base: tuple[str, str]) -> bool:
    module, name = base
    return any(c.__name__ == name and c.__module__.startswith(module) for c in value.__mro__)


def _returned(function: Callable) -> list[str]:
    """Names of the class that a function says that it returns, and of its bases; none if it says
    nothing.
    """
    annotation = getattr(function, "__annotations__", {}).get("return", Any)
    if inspect.isclass(annotation):
        names = [base.__name__ for base in annotation.__mro__]
    elif isinstance(annotation, str):
        names = [annotation.strip("'\" ").partition("[")[0].rpartition(".")[2]]
    else:
        names = [str(getattr(annotation, "__name__", annotation))]
    return [] if names[0] in ("Any", "object", "Callable") else names


def _is_installed(module: str) -> bool:
    """Whether a module is that of an installed package, not of a project in a directory."""
    file = getattr(sys.modules.get(module), "__file__", None)
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return file is None or any(Path(file).is_relative_to(place) for place in places if place)


def _article(name: str) -> str:
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"
