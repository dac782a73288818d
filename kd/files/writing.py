"""Writing files: completely or not at all, and in one line where the system refuses it."""

import contextlib
import errno
import os
from collections.abc import Generator, Iterator
from typing import Any

from kd.errors import InputError, RunError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def replacing(path: Any) -> Generator[Any]:
    """A path to write to, beside `path`, which it replaces when the block ends.

    On any error, a full disk or a request to stop too, it is removed, and `path` stays as it was.

    Args:
      path: a `pathlib.Path` or `epath.Path`.

    Raises:
      RunError: the system refuses to write it.
    """
    # The name is unique to the process: two may write the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with refusals(path):
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def remove_parts(directory: Any) -> None:
    """Removes what `replacing` left in a directory when its process was killed.

    No other process may write there.
    """
    if directory.exists():
        for path in directory.iterdir():
            if path.name.startswith(".") and path.name.endswith(".part"):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def refusals(path: Any) -> Generator[None]:
    """Turns an error of the system while `path` is written into a RunError of one line.

    Libraries wrap such errors in others, which are recognised, too.
    """
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        number = _number(error)
        if number is None:
            raise
        raise RunError(message(path, number)) from error


def message(path: Any, number: int) -> str:
    """Why `path` could not be written, and what to do.

    Args:
      path: of the file or directory.
      number: of the error, as in `errno`.
    """
    remedy = "The same command goes on once it can be"
    if number in NO_ROOM:
        remedy = "Make room: the same command then goes on"
    elif number in NOT_WRITABLE:
        remedy = "Make it writable: the same command then goes on"
    return f"{path} could not be written: {os.strerror(number)}. {remedy}."


def _number(error: BaseException) -> int | None:
    """Number of the system's error behind an error: its cause, or named in its text."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, OSError) and link.errno:
            return link.errno
    text = "\n".join(map(str, chain))
    for number in (*NO_ROOM, *NOT_WRITABLE, errno.EIO):
        if os.strerror(number) in text:
            return number
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, the errors of a group, and what each came from."""
    while error is not None:
        yield error
        for inner in getattr(error, "exceptions", ()):
            yield from _chain(inner)
        error = error.__cause__ or error.__context__
