"""Which code a name in a config may bring in.

Names in a config that a user launches are the user's: any package may be meant. The config that is
stored in a run directory may be a stranger's. While one is read (`stored`), only names of kd
resolve, and those of packages that the user named (`allow`, `--trust`) or used in a config of their
own during the same command. Nothing that lies in a run directory is imported, whoever names it.
Imports no jax.
"""

import contextlib
import functools
import importlib
import importlib.util
import json
import keyword
import os
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from kd.errors import InputError

_scopes: list[set[str]] = []
"""Packages that are trusted, by `allow`; the last set also gets those of the user's configs."""

_stored: list[str] = []
"""Stored configs that are being read. Process-wide, so that it holds in other threads, too."""

_added: list[str] = []
"""The working directory that `add_working_directory` put before `sys.path`, if any."""

_roots: list[str] = ["runs"]
"""Directories of runs, relative to the working directory."""

MARKS = ("origin.json", "result.json", "metrics.jsonl", "checkpoints")
"""Files that tell a run directory from another directory with a `config.json`."""


@contextlib.contextmanager
def allow(
    packages: str | Iterable[str] = (), root: os.PathLike | str = "runs"
) -> Generator[set[str]]:
    """Within the block, stored configs may name things in these packages.

    Packages of names in the user's own configs that are read within the block are added.

    Args:
      packages: names of top-level packages, such as `my_project`.
      root: directory of the runs, in which nothing is imported.

    Yields:
      the packages that are trusted so far.

    Raises:
      InputError: a text is no name of a top-level package, or one of Python's own.
    """
    packages = [packages] if isinstance(packages, str) else list(packages)
    for package in packages:
        if not isinstance(package, str) or not is_name(package) or "." in package:
            raise InputError(
                f"--trust {package}: expected the name of a package, such as my_project, without "
                "dots: it holds for all that is in it."
            )
        if package in sys.stdlib_module_names:
            raise InputError(
                f"--trust {package}: a module of Python itself has no network, loss or data set. "
                "Leave it out."
            )
    _scopes.append(set(packages))
    _roots.append(os.fspath(root))
    try:
        yield _scopes[-1]
    finally:
        _scopes.pop()
        _roots.pop()


@contextlib.contextmanager
def stored(where: object) -> Generator[None]:
    """Within the block, names come from the stored config of the run `where`."""
    _stored.append(str(where))
    try:
        yield
    finally:
        _stored.pop()


def reads_stored(function: Any) -> Any:
    """A function whose first argument is a run (its directory, or an object with a `workdir`) as
    one whose names all come from that run's stored config.
    """

    @functools.wraps(function)
    def within(run: Any, *args: Any, **kwargs: Any) -> Any:
        with stored(getattr(run, "workdir", run)):
            return function(run, *args, **kwargs)

    return within


def require(kind: str, name: str) -> None:
    """Raises InputError for a dotted name that a stored config may not use, and for what is none.

    Args:
      kind: what the name is of, in messages.
      name: the dotted path.
    """
    if not is_name(name):
        raise InputError(f"{kind} {name!r}: expected a name such as my_project.module.Thing.")
    top = name.partition(".")[0]
    if _stored and top != "kd" and not any(top in packages for packages in _scopes):
        raise InputError(
            f"{kind} {name!r}: the config stored in {_stored[-1]} names it, and importing it would "
            f"run code. If {top!r} is a package of yours, or one that you trust, add --trust {top} "
            f"(in Python trust={top!r})."
        )


def require_file(reference: str) -> None:
    """Raises InputError for a Python file that a stored config names: it would be executed."""
    if _stored:
        raise InputError(
            f"the config stored in {_stored[-1]} names the file {reference!r}, which would be "
            "executed. Only a config of your own may name one: launch it with kd run --config."
        )


def record(name: str) -> None:
    """Notes that the user's own config has used a dotted name: its package is trusted from now on,
    until the innermost `allow` ends.
    """
    if _scopes and not _stored:
        _scopes[-1].add(name.partition(".")[0])


def is_name(text: str) -> bool:
    """Whether a text is identifiers joined by dots."""
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))


def add_working_directory() -> None:
    """Lets modules be imported from the working directory, unless it is a run's, and no longer from
    the one that was added before.
    """
    directory = str(Path.cwd())
    if _added and _added[-1] != directory:
        before = _added.pop()
        sys.path[:] = [path for path in sys.path if path != before]
    if directory not in sys.path and not _is_in_run(Path(directory)):
        sys.path.insert(0, directory)
        _added.append(directory)


def import_module(path: str) -> ModuleType:
    """The module with this dotted path, each package on the way looked at before it is executed.

    Raises:
      InputError: it, or a package that it is in, lies in a run directory.
      ImportError: there is no such module.
    """
    parts = path.split(".")
    module = None
    for i in range(1, len(parts) + 1):
        name = ".".join(parts[:i])
        module = sys.modules.get(name)
        spec = importlib.util.find_spec(name) if module is None else module.__spec__
        if spec is None and module is None:
            raise ModuleNotFoundError(f"no module named {name!r}")
        origins = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        for place in (*origins, getattr(module, "__file__", None)):
            if place and Path(place).is_absolute() and _is_in_run(Path(place)):
                raise InputError(
                    f"{name!r} is in {place}, and nothing in a run directory is imported: anybody "
                    "may have put it there. Move it to a package of yours."
                )
        module = importlib.import_module(name)
    assert module is not None
    return module


def _is_in_run(path: Path) -> bool:
    """Whether a path lies in a run directory or in a directory of runs, as it is written or with
    its links followed.
    """
    working = Path.cwd()
    roots = {
        place
        for root in _roots
        if "://" not in root
        for place in (Path(os.path.abspath(root)), Path(root).resolve())  # noqa: PTH100
        if place not in (working, *working.parents)
    }
    return any(
        place in roots or _is_run(str(place))
        for way in (path, path.resolve())
        for place in (way, *way.parents)
    )


def _is_run(directory: str) -> bool:
    path = Path(directory)
    if (path / "result.json").is_file():
        return True
    config = path / "config.json"
    if not config.is_file():
        return False
    if any((path / name).exists() for name in MARKS):
        return True
    try:
        content = json.loads(config.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"student", "objective"} <= content.keys()
