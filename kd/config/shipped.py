"""The configs and experiments that ship with kd, by name: `kd:digits`, `kd:digits:role=teacher`.

In a clone they are the files of configs/ and experiments/; in a wheel the same files are in
kd/shipped/. A shipped file refers to others as `configs/NAME.py`. Loaded as `kd:NAME`, these
references are `kd:NAME` as well, so that files of the same name in the working directory do not
matter. Both spellings are one run: `identity` reads them alike. Imports no jax.
"""

import ast
import contextlib
import inspect
import re
import sys
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from kd.config.defaults import ConfigDict
from kd.errors import unknown
from kd.names import trust

PREFIX = "kd:"
FUNCTIONS = {"config": "get_config", "experiment": "get_experiment"}
"""Function that a file of each kind defines. The files of a kind are in the directory `{kind}s`."""

_PACKAGE = "configs"
"""What shipped files import from each other: `from configs.arguments import parse_arg`."""

_modules: dict[str, ModuleType] = {}
"""Shipped modules that were imported, by name; `sys.modules` may hold the user's."""

_lock = threading.RLock()


def home() -> Path:
    """The directory that holds the shipped `configs` and `experiments`."""
    package = Path(__file__).parents[1]
    return package / "shipped" if (package / "shipped").is_dir() else package.parent


def names(kind: str) -> list[str]:
    """Names of the shipped configs or experiments, sorted.

    Args:
      kind: "config" or "experiment".
    """
    folder = home() / f"{kind}s"
    files = [*sorted(folder.glob("*.py")), *sorted(folder.glob("claims/*.py"))]
    names = [file.relative_to(folder).with_suffix("").as_posix() for file in files]
    function = f"\ndef {FUNCTIONS[kind]}("
    return [name for name, file in zip(names, files, strict=True) if function in file.read_text()]


def split(reference: str) -> tuple[str, str]:
    """A reference without and its arguments: `("configs/x.py", "role=teacher")`, `("kd:x", "")`."""
    prefix = PREFIX if reference.startswith(PREFIX) else ""
    name, _, arguments = reference.removeprefix(prefix).partition(":")
    return prefix + (name.removesuffix(".py") if prefix else name), arguments


def find(name: str, kind: str) -> Path:
    """The file of `kd:NAME`. Raises InputError for an unknown name, with the nearest."""
    stem = name.removeprefix(PREFIX).removesuffix(".py")
    known = names(kind)
    if stem not in known:
        raise unknown(f"{kind} that ships with kd", stem, known)
    return home() / f"{kind}s" / f"{stem}.py"


def of_path(path: str, kind: str) -> str:
    """`kd:NAME` for the path `configs/NAME.py` of a shipped file; "" for other paths."""
    match = re.fullmatch(rf"(?:\./)?{kind}s/([\w/]+)\.py", path)
    return PREFIX + match[1] if match and match[1] in names(kind) else ""


def described(name: str, kind: str) -> str:
    """The docstring of a shipped file. Reads the file, and does not execute it."""
    return inspect.cleandoc(ast.get_docstring(ast.parse(find(name, kind).read_text())) or "")


def qualified(value: Any) -> Any:
    """Data of a shipped file with `configs/NAME.py...` replaced by `kd:NAME...`, at any depth."""
    if isinstance(value, ConfigDict):
        return ConfigDict(qualified(value.to_dict()))
    if isinstance(value, Mapping):
        return {key: qualified(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = map(qualified, value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    if isinstance(value, str) and value.startswith("configs/"):
        path, arguments = split(value)
        name = of_path(path, "config")
        return f"{name}:{arguments}" if name and arguments else name or value
    return value


def as_paths(value: Any) -> Any:
    """Data with `kd:NAME...` replaced by `configs/NAME.py...`, the inverse of `qualified`."""
    if isinstance(value, Mapping):
        return {key: as_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = map(as_paths, value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    if isinstance(value, str) and value.startswith(PREFIX):
        name, arguments = split(value)
        path = f"configs/{name.removeprefix(PREFIX)}.py"
        return f"{path}:{arguments}" if arguments else path
    return value


@contextlib.contextmanager
def importable(shipped: bool) -> Generator[None]:
    """Within the block, `configs` can be imported.

    Args:
      shipped: only the shipped files, whatever the working directory holds; otherwise also those
        of the working directory, which come first.
    """
    with _lock:
        trust.add_working_directory()
        if not shipped:
            if str(home()) not in sys.path:
                sys.path.append(str(home()))
            _drop_others()
            yield
            return
        before, path = _taken(), list(sys.path)
        sys.modules.update(_modules)
        sys.path.insert(0, str(home()))
        try:
            yield
        finally:
            sys.path[:] = path
            _modules.update(_taken())
            sys.modules.update(before)


def _drop_others() -> None:
    """Removes the modules of `configs` that another working directory had."""
    for name in [name for name in sys.modules if name.startswith(f"{_PACKAGE}.")]:
        file = getattr(sys.modules[name], "__file__", None)
        below = Path(*name.split(".")).with_suffix(".py")
        place = Path.cwd() if (Path.cwd() / below).exists() else home()
        if file and Path(file).resolve() != (place / below).resolve():
            del sys.modules[name]


def _taken() -> dict[str, ModuleType]:
    """Removes the modules of `configs` from `sys.modules` and returns them."""
    taken = [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]
    return {name: sys.modules.pop(name) for name in taken}
