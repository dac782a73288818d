"""Paths of data as users name them."""

from pathlib import Path

from kd.errors import InputError
from kd.ranges import short
from kd.values import expanded


def existing(path: object, kind: str) -> Path:
    """The path with `~` expanded.

    Args:
      path: of the config.
      kind: "file", "directory", or "any" of the two.

    Raises:
      InputError: it does not exist, or is of another kind. Pipes, sockets and devices are neither:
        to open one can wait for ever.
    """
    file = expanded(path, "path")  # pyrefly: ignore
    try:
        exists, is_file, is_directory = file.exists(), file.is_file(), file.is_dir()
    except OSError as error:  # such as a name that is too long
        raise InputError(f"path {short(path)}: {error.strerror}.") from error
    if not exists:
        raise InputError(f"there is no {file} (looked for from {Path.cwd()}).")
    if not (is_file or is_directory):
        raise InputError(f"{file} is neither a file nor a directory, but a pipe or device.")
    if kind == "file" and is_directory:
        raise InputError(f"{file} is a directory; expected a file.")
    if kind == "directory" and is_file:
        raise InputError(f"{file} is a file; expected a directory.")
    return file
