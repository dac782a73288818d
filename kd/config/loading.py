"""Loading config files, completing configs with their defaults, and default run directories."""

import hashlib
import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etils import epath

from kd.config.check import check_depth, check_values, checked, complete_teacher, over
from kd.config.defaults import ACCEPTANCE, ConfigDict, default
from kd.errors import InputError, unknown
from kd.names import trust

LONGEST = 150
"""Characters of a directory's name, before a digest of the overrides stands for the rest."""


def load(reference: str) -> ConfigDict:
    """The config of `FILE.py` or `FILE.py:arguments` over the defaults. Raises InputError."""
    config = call_file(reference, "get_config", "config")
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"{reference}: get_config returned {type(config).__name__}, expected ConfigDict."
        )
    return complete(config)


def call_file(reference: str, function: str, kind: str) -> Any:
    """Calls `function(arguments)` of the file in `FILE.py:arguments` and returns its result.

    Raises:
      InputError: no such file (the message lists those in the directory `{kind}s`), no such
        function, or an error in the file.
    """
    trust.require_file(reference)
    path, _, arg = reference.partition(":")
    file = Path(path)
    if not file.is_file():
        known = sorted(str(p) for p in Path(f"{kind}s").glob("*.py"))
        raise InputError(f"no {kind} file {path!r}. Known: {', '.join(known) or 'none'}.")
    trust.add_working_directory()
    spec = importlib.util.spec_from_file_location(f"kd_{kind}_{file.stem}", file.resolve())
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, function):
            raise InputError(f"it defines no {function}(arg=None).")
        call = getattr(module, function)
        return call(arg) if arg else call()
    except InputError as error:
        raise InputError(f"{reference}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file may raise anything
        line = _line_in(error, file)
        text = str(error) if len(str(error)) < 500 else f"{str(error)[:500]} ..."
        raise InputError(f"{reference}{line}: {type(error).__name__}: {text}") from error


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
        completed.acceptance = over(ACCEPTANCE, completed.acceptance, "acceptance")
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
    """`runs/NAME` or `runs/NAME-arguments` for the config `FILE.py:arguments`.

    `root` may be a bucket.
    """
    path, _, arg = reference.partition(":")
    name = Path(path).stem + (f"-{arg}" if arg else "")
    return epath.Path(root) / _plain(name)
