"""Loading config files, completing configs with their defaults, and default run directories."""

import contextlib
import difflib
import hashlib
import importlib.machinery
import importlib.util
import os
import re
from collections.abc import Generator, Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from etils import epath

from kd.config import acceptance, shipped
from kd.config.check import check_depth, check_values, checked, complete_teacher
from kd.config.defaults import ConfigDict, default
from kd.errors import InputError, unknown
from kd.names import trust

LONGEST = 150
"""Characters of a directory's name, before a digest of the overrides stands for the rest."""


def load(reference: str) -> ConfigDict:
    """The config of `FILE.py`, `kd:NAME`, or either with `:arguments`, over the defaults.

    Raises:
      InputError: see `call_file` and `complete`.
    """
    config = call_file(reference, "config")
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"{reference}: get_config returned {type(config).__name__}, expected ConfigDict."
        )
    return complete(config)


def call_file(reference: str, kind: str) -> Any:
    """What the function of a config or experiment file returns.

    Args:
      reference: `FILE.py` or `kd:NAME`, each also with `:arguments`. A `configs/NAME.py` that is
        not in the working directory is that which ships with kd.
      kind: "config" or "experiment".

    Raises:
      InputError: no such file, no such function in it, or an error in the file.
    """
    file, is_shipped = find(reference, kind)
    arguments = shipped.split(reference)[1]
    with _errors_in(file, reference), shipped.importable(is_shipped):
        module = _execute(file, kind)
        call = getattr(module, shipped.FUNCTIONS[kind], None)
        if call is None:
            raise InputError(f"it defines no {shipped.FUNCTIONS[kind]}(arg=None).")
        content = call(arguments) if arguments else call()
    return shipped.qualified(content) if is_shipped else content


def module_of(reference: str, kind: str) -> ModuleType:
    """The module of a config or experiment file; arguments: see `call_file`. Raises InputError."""
    file, is_shipped = find(reference, kind)
    with _errors_in(file, reference), shipped.importable(is_shipped):
        return _execute(file, kind)


def _execute(file: Path, kind: str) -> ModuleType:
    name, path = f"kd_{kind}_{file.stem}", file.resolve()
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _FromSource(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is now. Python's cache of bytecode tells two versions of a file apart
    by size and second alone, so that a file written twice in a second would be read as before.
    """

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@contextlib.contextmanager
def _errors_in(file: Path, reference: str) -> Generator[None]:
    """Within the block, whatever the file raises is an InputError that names the line."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{reference}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file may raise anything
        line = _line_in(error, file)
        text = str(error) if len(str(error)) < 500 else f"{str(error)[:500]} ..."
        raise InputError(f"{reference}{line}: {type(error).__name__}: {text}") from error


def find(reference: str, kind: str) -> tuple[Path, bool]:
    """The file of a reference, and whether it ships with kd.

    Raises:
      InputError: there is none; names the nearest.
    """
    name, _ = shipped.split(reference)
    if name.startswith(shipped.PREFIX):
        return shipped.find(name, kind), True
    trust.require_file(reference)
    path = Path(name)
    if path.is_file():
        return path, False
    if ours := shipped.of_path(name, kind):
        return shipped.find(ours, kind), True
    known = {file.stem: str(file) for file in sorted(Path(f"{kind}s").glob("*.py"))}
    known |= {n: shipped.PREFIX + n for n in shipped.names(kind) if n not in known}
    near = difflib.get_close_matches(path.stem, known, n=1, cutoff=0.5)
    hint = f" Did you mean {known[near[0]]!r}?" if near else ""
    listed = ", ".join(known.values()) or "none"
    raise InputError(f"no {kind} file {name!r}.{hint} Known: {listed}.")


def _line_in(error: BaseException, file: Path) -> str:
    """`, line N`: the line of the config file that raised the error, or ""."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    trace, line = error.__traceback__, ""
    while trace:
        if trace.tb_frame.f_code.co_filename == str(file.resolve()):
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    return line


def complete(config: ConfigDict) -> ConfigDict:
    """The config over the defaults, locked.

    Raises:
      InputError: unknown keys, values of another type than their default's, values out of range.
    """
    check_depth(config)
    completed = default()
    for key, value in config.items():
        if key not in completed:
            raise unknown("config key", key, completed)
        completed[key] = checked(key, completed[key], value)
    completed.teacher = complete_teacher(completed.teacher)
    if completed.acceptance:
        completed.acceptance = acceptance.complete(completed.acceptance)
    check_values(completed)
    return completed.lock()


def named_after(workdir: epath.Path, overrides: Mapping[str, object]) -> epath.Path:
    """The directory beside `workdir` that is named after the overrides, too.

    Args:
      workdir: of the config without them.
      overrides: keys and values.
    """
    changes = "".join(f"--{key}={value}" for key, value in overrides.items())
    name = _plain(workdir.name + changes)
    if len(name) > LONGEST:
        digest = hashlib.sha256(changes.encode("utf-8", "backslashreplace")).hexdigest()[:12]
        name = f"{name[:LONGEST]}-{digest}"
    return workdir.parent / name


def _plain(name: str) -> str:
    return re.sub(r"[^\w.=,+-]", "_", name)


def default_workdir(reference: str, root: os.PathLike | str = "runs") -> epath.Path:
    """`runs/NAME` or `runs/NAME-arguments` for the config `NAME.py:arguments` or `kd:NAME:...`.

    `root` may be a bucket.
    """
    path, arg = shipped.split(reference)
    name = Path(path.removeprefix(shipped.PREFIX)).stem + (f"-{arg}" if arg else "")
    return epath.Path(root) / _plain(name)
