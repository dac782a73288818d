"""Names to objects. The file system is the registry: among objectives, `crd.CRD` is the class `CRD`
in kd/objectives/crd.py.

A name may also be the dotted path of anything that can be imported from the working directory, such
as `my_project.losses.Mine`. Adding a thing is therefore adding a file, to kd or beside a config.
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

from kd import ranges
from kd.errors import InputError, suggestion, unknown
from kd.names import kinds, trust
from kd.values import of_type


def files(package: str) -> tuple[str, ...]:
    """Names of the modules in a package, without importing them, sorted."""
    path = importlib.import_module(package).__path__
    return tuple(sorted(module.name for module in pkgutil.iter_modules(path)))


def known(package: str) -> list[str]:
    """All names in `package` that a config may use without further settings: `file.Thing`."""
    return [
        f"{file}.{name}"
        for file in files(package)
        for name, value in _public(importlib.import_module(f"{package}.{file}")).items()
        if not package.startswith("kd.models") or required(value) <= {"num_classes"}
    ]


def exported(package: str) -> dict[str, Any]:
    """All public objects of a package's files by their bare names, for `package.Thing`.

    It imports every file of the package. Of two objects of one name the first file's is returned; a
    test keeps names unique.
    """
    objects: dict[str, Any] = {}
    for file in files(package):
        objects = _public(importlib.import_module(f"{package}.{file}")) | objects
    return objects


def _public(module: Any) -> dict[str, Any]:
    """The callables that a module defines (not those it imports) under a public name.

    In kd/objectives only classes count, in kd/models only networks.
    """
    is_wanted: Callable[[Any], bool] = lambda value: True
    if module.__name__.startswith("kd.objectives."):
        is_wanted = inspect.isclass
    elif module.__name__.startswith("kd.models."):
        is_wanted = _is_network
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and (isinstance(value, partial) or getattr(value, "__module__", None) == module.__name__)
        and is_wanted(value)
    }


def _is_network(maker: Callable) -> bool:
    """Whether a callable makes a network: a class with a setting `num_classes`, or a function that
    requires nothing else (which tells it from helpers, such as `layers.head`).
    """
    if "num_classes" not in inspect.signature(maker).parameters:
        return False
    is_class = inspect.isclass(maker.func if isinstance(maker, partial) else maker)
    return is_class or required(maker) <= {"num_classes"}


def required(maker: Callable) -> set[str]:
    """Names of the parameters without a default."""
    parameters = inspect.signature(maker).parameters
    return {name for name, p in parameters.items() if p.default is p.empty}


def _files_with(package: str, attribute: str) -> list[str]:
    """Files of `package` that define `attribute`."""
    return [
        file
        for file in files(package)
        if hasattr(importlib.import_module(f"{package}.{file}"), attribute)
    ]


def find(package: str, name: Any, attribute: str | None = None, kind: str = "") -> Callable:
    """The object called `name`, from `package` or by dotted path.

    Args:
      package: where kd keeps this kind of thing, such as `kd.models`.
      name: `file.Thing`, or only `file` where `attribute` says which thing of a file is meant.
      attribute: the name to take from a file of `package` where `name` is only `file`.
      kind: a key of `kd.names.kinds.SORTS`; default: from the package's name.

    Raises:
      InputError: there is no such thing, and the message lists the known and the nearest names; it
        is of another kind; or a stored config may not name it, see `kd.names.trust`.
    """
    kind = kind or package.rpartition(".")[2].rstrip("s").replace("data", "data set")
    _require_text(kind, name)
    file, _, thing = name.partition(".")
    if file in files(package) and (thing or attribute):
        module = importlib.import_module(f"{package}.{file}")
        value = getattr(module, thing or str(attribute), None)
        if callable(value):
            kinds.check(kind, name, value)
            return value
    elif "." in name:
        return _by_path(kind, name)
    if (attribute or file not in files(package)) and (place := _beside(file)):
        what, such = ("function", attribute) if attribute else ("class", "MyClass")
        raise InputError(
            f"unknown {kind} {name!r}. Of {place}, name the {what} by its dotted path, such as "
            f"'{file}.{such}'."
        )
    raise unknown(kind, name, _files_with(package, attribute) if attribute else known(package))


def _beside(name: str) -> str:
    """The module or package of this name in the working directory, if there is one, else ""."""
    file, folder = Path(f"{name}.py"), Path(name)
    if name.isidentifier() and file.is_file():
        return str(file)
    return f"{folder}/" if name.isidentifier() and any(folder.glob("*.py")) else ""


def find_in(module: str, kind: str, name: Any, returns: Any) -> Callable:
    """The function called `name`, from one module of kd or by dotted path.

    Args:
      module: such as `kd.optim`.
      kind: what the thing is called in messages.
      name: name of a function in the module, or a dotted path.
      returns: only functions of the module with this return annotation count.

    Raises:
      InputError: there is no such function; the message lists the known and the nearest names.
    """
    _require_text(kind, name)
    functions = {
        key: value
        for key, value in _public(importlib.import_module(module)).items()
        if inspect.isfunction(value) and inspect.signature(value).return_annotation is returns
    }
    if name in functions:
        return functions[name]
    if "." in name:
        return _by_path(kind, name)
    raise unknown(kind, name, functions)


def _require_text(kind: str, name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise InputError(f"the {kind} needs a name, not {ranges.short(name)}.")


def _by_path(kind: str, name: str) -> Callable:
    """The class, function or object with this dotted path, imported from the working directory or
    an installed package. Raises InputError.
    """
    trust.require(kind, name)
    trust.add_working_directory()
    path, _, last = name.rpartition(".")
    top = path.partition(".")[0]
    if top not in sys.modules and importlib.util.find_spec(top) is None:
        raise InputError(
            f"unknown {kind} {name!r}: kd has no file {top!r} for it, and no module {top!r} can be "
            f"imported from {Path.cwd()}."
        )
    try:
        module = trust.import_module(path)
    except InputError as error:
        raise InputError(f"{kind} {name!r}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's own module may raise anything
        raise InputError(
            f"{kind} {name!r}: importing {path} fails: {type(error).__name__}: {error}."
        ) from error
    value = getattr(module, last, None)
    if not callable(value):
        raise InputError(
            f"{kind} {name!r}: module {path} has no class or function {last!r}. "
            f"{suggestion(last, _public(module))}"
        )
    kinds.check(kind, name, value)
    trust.record(name)
    return value


def make(maker: Callable, kwargs: Mapping[str, Any], what: str) -> Any:
    """`maker(**kwargs)`.

    Args:
      maker: a class or function.
      kwargs: its keyword arguments.
      what: name of the thing in messages.

    Raises:
      InputError: a keyword that the maker does not take (the message lists those it takes), one
        that it requires and does not get, or a value that its annotation excludes.
    """
    keywords = keywords_of(maker)
    if keywords is not None:
        for key in kwargs:
            if key not in keywords:
                raise unknown(f"setting of {what}", key, keywords)
    try:
        inspect.signature(maker).bind(**kwargs)
    except TypeError as error:
        raise InputError(f"{what}: {error}. Give it in the config, or a default.") from error
    declared = annotations(maker)
    for key, value in kwargs.items():
        _check(f"{what}: {key}", maker, key, declared, value)
    return maker(**kwargs)


def settings(maker: Callable, options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """All settings of a maker that are plain data: `options`, and the defaults of the others.

    Args:
      maker: a class or function.
      options: keyword arguments that a config sets.
      what: name of the config's section in messages.

    Raises:
      InputError: a keyword that the maker does not take, a value of another type than its
        default's, or one that its annotation excludes.
    """
    keywords, declared = keywords_of(maker), annotations(maker)
    filled = dict(options)
    for key, value in options.items():
        if keywords is not None and key not in keywords:
            raise unknown(f"setting of {what}", key, keywords)
        filled[key] = of_type(f"{what}.{key}", _default(maker, key), value)
        _check(f"config.{what}.{key}", maker, key, declared, filled[key])
    for key in keywords or ():
        if key not in options and _has_plain_default(maker, key):
            filled[key] = _default(maker, key)
    return filled


def annotations(maker: Callable) -> dict[str, Any]:
    """The annotation of each keyword that has one, see `kd.ranges`."""
    try:
        parameters = inspect.signature(maker, eval_str=True).parameters
    except Exception:  # evaluating a text of a user's module may raise anything
        parameters = inspect.signature(maker).parameters
    declared = {name: p.annotation for name, p in parameters.items()}
    return {k: a for k, a in declared.items() if a is not inspect.Parameter.empty}


def _check(where: str, maker: Callable, key: str, declared: Mapping[str, Any], value: Any) -> None:
    """Raises InputError for a value that its annotation excludes; its default always passes."""
    parameter = inspect.signature(maker).parameters.get(key)
    default = inspect.Parameter.empty if parameter is None else parameter.default
    if type(value) is not type(default) or value != default:
        ranges.check(where, declared.get(key, Any), value)


def _default(maker: Callable, key: str) -> Any:
    """Default of a keyword; None if it has none."""
    parameter = inspect.signature(maker).parameters.get(key)
    if parameter is None or parameter.default is parameter.empty:
        return None
    return parameter.default


def _has_plain_default(maker: Callable, key: str) -> bool:
    """Whether a keyword has a default that a config can hold."""
    default = inspect.signature(maker).parameters[key].default
    plain = bool | int | float | str | tuple | None
    return default is not inspect.Parameter.empty and isinstance(default, plain)


def keywords_of(maker: Callable) -> list[str] | None:
    """Keywords of a callable, without the `parent` and `name` that Flax adds to its modules; None
    if it takes any keyword.
    """
    parameters = inspect.signature(maker).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    target = maker.func if isinstance(maker, partial) else maker
    hidden = {"parent", "name"} if dataclasses.is_dataclass(target) else set()
    return [p.name for p in parameters if p.name not in hidden]
