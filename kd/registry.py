"""Names to objects. The file system is the registry: `crd.CRD` among objectives is the class CRD in
kd/objectives/crd.py.

A name may also be a dotted path to anything importable from the working directory, such as
`my_project.losses.Mine`.
"""

import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kd.errors import InputError, unknown
from kd.values import of_type


def _modules(package: str) -> list[str]:
    path = importlib.import_module(package).__path__
    return sorted(m.name for m in pkgutil.iter_modules(path))


def _public(module: Any) -> list[str]:
    """Classes and functions that the module defines itself and shows.

    Of an objective's file, the classes alone; of a model's, what can be built from `num_classes`
    and nothing else.
    """
    keep: Callable[[Any], bool] = lambda value: True
    if module.__name__.startswith("kd.objectives."):
        keep = inspect.isclass
    elif module.__name__.startswith("kd.models."):
        keep = _is_network
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and (isinstance(value, partial) or getattr(value, "__module__", None) == module.__name__)
        and keep(value)
    ]


def _is_network(maker: Callable) -> bool:
    parameters = inspect.signature(maker).parameters
    needed = {k for k, p in parameters.items() if p.default is p.empty}
    return "num_classes" in parameters and needed <= {"num_classes"}


def known(package: str) -> list[str]:
    """All names in `package`: `file.Thing` for each callable that a file defines."""
    return [
        f"{file}.{name}"
        for file in _modules(package)
        for name in _public(importlib.import_module(f"{package}.{file}"))
    ]


def _files(package: str, attribute: str) -> list[str]:
    """Files of `package` that define `attribute`."""
    return [
        file
        for file in _modules(package)
        if hasattr(importlib.import_module(f"{package}.{file}"), attribute)
    ]


def find(package: str, name: str, attribute: str | None = None) -> Callable:
    """The object called `name`, from `package` or by dotted path.

    Args:
      package: where kd keeps this kind of thing, such as `kd.models`.
      name: `file.Thing`, or `file` alone where `attribute` says which thing of a file is meant.
      attribute: name looked up where `name` is a file of `package`.

    Raises:
      InputError: no such thing; it says what exists and the nearest name.
    """
    kind = package.rpartition(".")[2].rstrip("s").replace("data", "data set")
    _require_text(kind, name)
    file, _, rest = name.partition(".")
    if file in _modules(package) and (rest or attribute):
        module = importlib.import_module(f"{package}.{file}")
        found = getattr(module, rest or str(attribute), None)
        if callable(found):
            return found
    elif "." in name:
        return _by_path(kind, name)
    raise unknown(kind, name, _files(package, attribute) if attribute else known(package))


def find_in(file: str, kind: str, name: str, returns: Any) -> Callable:
    """The function called `name` among those of one file that return `returns`, or by dotted
    path.
    """
    _require_text(kind, name)
    module = importlib.import_module(file)
    made_here = {
        n: f
        for n in _public(module)
        if inspect.isfunction(f := getattr(module, n))
        and inspect.signature(f).return_annotation is returns
    }
    if name in made_here:
        return made_here[name]
    if "." in name:
        return _by_path(kind, name)
    raise unknown(kind, name, made_here)


def _require_text(kind: str, name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise InputError(f"the {kind} needs a name, not {name!r}.")


def _by_path(kind: str, name: str) -> Callable:
    path, _, last = name.rpartition(".")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    top = path.partition(".")[0]
    if importlib.util.find_spec(top) is None:
        raise InputError(
            f"unknown {kind} {name!r}: kd has no file {top!r} for it, and no module {top!r} can be "
            f"imported from {here}."
        )
    try:
        module = importlib.import_module(path)
    except Exception as error:  # a user's own module may raise anything
        raise InputError(
            f"{kind} {name!r}: importing {path} fails: {type(error).__name__}: {error}."
        ) from error
    found = getattr(module, last, None)
    if not callable(found):
        raise unknown(f"name in {path}", last, _public(module))
    return found


def make(maker: Callable, kwargs: Mapping[str, Any], what: str) -> Any:
    """`maker(**kwargs)`, where a keyword that it does not take is an InputError that lists those it
    takes.
    """
    known = _keywords(maker)
    if known is not None:
        for key in kwargs:
            if key not in known:
                raise unknown(f"setting of {what}", key, known)
    try:
        inspect.signature(maker).bind(**kwargs)
    except TypeError as error:
        raise InputError(f"{what}: {error}.") from error
    return maker(**kwargs)


def settings(maker: Callable, given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """`given` over the defaults of the maker's keywords that are plain data: what a config leaves
    out, spelled out.

    Raises:
      InputError: a keyword that the maker does not take, or a value of another type than its
        default's.
    """
    known = _keywords(maker)
    spelled = dict(given)
    for key, value in given.items():
        if known is not None and key not in known:
            raise unknown(f"setting of {what}", key, known)
        spelled[key] = of_type(f"{what}.{key}", _default(maker, key), value)
    for key in known or ():
        if key not in given and _is_plain(maker, key):
            spelled[key] = _default(maker, key)
    return spelled


def _default(maker: Callable, key: str) -> Any:
    """Default of a keyword, None where it has none."""
    parameter = inspect.signature(maker).parameters.get(key)
    if parameter is None or parameter.default is parameter.empty:
        return None
    return parameter.default


def _is_plain(maker: Callable, key: str) -> bool:
    """Whether a keyword has a default, and it is data that a config can hold."""
    parameter = inspect.signature(maker).parameters[key]
    plain = bool | int | float | str | tuple | None
    return parameter.default is not parameter.empty and isinstance(parameter.default, plain)


def _keywords(maker: Callable) -> list[str] | None:
    """Keywords of a callable; None where it takes any. Flax adds `parent` and `name`, which are not
    a user's.
    """
    parameters = inspect.signature(maker).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    made = maker.func if isinstance(maker, partial) else maker
    flax_own = {"parent", "name"} if dataclasses.is_dataclass(made) else set()
    return [p.name for p in parameters if p.name not in flax_own]
