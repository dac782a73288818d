"""Locks of run directories against other processes, of this machine or of others.

On a local disk it is `flock`, which ends with its process. Buckets have no such locks, and on
network mounts they may hold on one machine alone; there it is a lease (`kd.runs.lease`).
`KD_LOCK=lease` or `KD_LOCK=flock` chooses for directories that are in no bucket.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO

from etils import epath

from kd.errors import InputError, unknown
from kd.runs import buckets, lease
from kd.runs.lease_files import owner, parsed

IN_USE = "is in use by another process"
"""Words of the message of `InUse`, by which a table recognises it in the output of a run."""

VARIABLE = "KD_LOCK"
LOOK_SECONDS = {"flock": 0.2, "lease": 2.0}
"""How often a process that waits for a lock looks."""

NETWORK = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "smb3",
]
"""Kinds of file systems, as in /proc/self/mountinfo, that several machines may share."""

UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class InUse(InputError):
    """Another process holds the run directory.

    Attributes:
      again: seconds after which to look again.
    """

    def __init__(self, directory: epath.Path, who: str = "", again: float = 0.2):
        text = f" ({who})" if who else ""
        super().__init__(f"{directory} {IN_USE}{text}. Wait for it, or give another --workdir.")
        self.again = again


def kind(directory: os.PathLike | str) -> str:
    """`flock` or `lease`."""
    if buckets.is_bucket(directory):
        return "lease"
    wanted = os.environ.get(VARIABLE, "")
    if wanted and wanted not in LOOK_SECONDS:
        raise unknown(f"value of ${VARIABLE}", wanted, LOOK_SECONDS)
    return wanted or ("lease" if is_shared(directory) else "flock")


def is_shared(directory: os.PathLike | str) -> bool:
    """Whether a directory is on a file system that other machines may share."""
    return mount(directory)[1].partition(".")[0] in NETWORK


def mount(directory: os.PathLike | str) -> tuple[str, str]:
    """The mount point of a directory, which need not exist, and the kind of its file system."""
    path = Path(os.path.realpath(directory))  # where links lead decides
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return "", ""
    best = ("", "")
    for line in lines:
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape")
        if path.is_relative_to(point) and len(point) >= len(best[0]):
            best = point, right.split()[0]
    return best


@contextlib.contextmanager
def locked(directory: epath.Path) -> Generator[Callable[[], None]]:
    """Context in which no other process holds the directory; it is made.

    A directory that did not exist and holds nothing when the block ends is removed.

    Yields:
      what raises `lease.TakenOver` where another process has taken over meanwhile.

    Raises:
      InUse: another process has locked it.
      InputError: the directory cannot be made.
    """
    if buckets.is_bucket(directory):
        _make(directory)
        with _leased(directory) as check:
            yield check
        return
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    with contextlib.ExitStack() as stack:
        if kind(directory) == "lease":
            _make(directory)
            check, file = stack.enter_context(_leased(directory)), None
        else:
            file = stack.enter_context(_flocked(directory / ".lock"))
            check = lambda: None
        try:
            yield check
        finally:
            left = {path.name for path in directory.iterdir()} if created else {"?"}
            if file is not None and left == {".lock"}:
                with contextlib.suppress(OSError):  # another process may be about to lock it
                    os.unlink(file.name)  # noqa: PTH108
                    _remove(created)
            elif file is None:
                stack.close()
                with contextlib.suppress(OSError):
                    _remove(created)


def holder(directory: epath.Path) -> dict | None:
    """Who holds a directory, None if nobody does.

    `host`, `pid` and `job` where they are known; a lease also has `seconds` since its renewal.
    """
    if kind(directory) == "lease":
        with contextlib.suppress(OSError):  # the run itself will report what is wrong
            return lease.holder(directory) if directory.exists() else None
        return None
    path = directory / ".lock"
    try:
        with open(os.fspath(path), "rb") as file:  # noqa: PTH123
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                return parsed(file.read())
            return None
    except FileNotFoundError:
        return None
    except OSError:  # the run itself will report what is wrong
        return None


def _remove(directories: list[epath.Path]) -> None:
    for path in directories:
        Path(os.fspath(path)).rmdir()  # OSError if anything is in it


def _make(directory: epath.Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{directory} cannot be made: {error.strerror}. Give another --workdir."
        ) from None


@contextlib.contextmanager
def _leased(directory: epath.Path) -> Generator[Callable[[], None]]:
    with contextlib.ExitStack() as stack:
        try:
            check = stack.enter_context(lease.held(directory))
        except lease.Held as error:
            raise InUse(directory, str(error), LOOK_SECONDS["lease"]) from None
        except OSError as error:
            raise InputError(
                f"{directory} cannot be locked: {error.strerror or error}. Give another --workdir."
            ) from None
        yield check


@contextlib.contextmanager
def _flocked(path: epath.Path) -> Generator[IO[str]]:
    """The open file of a lock that this process holds."""
    while True:
        _make(path.parent)
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(os.fspath(path), "a"))  # noqa: PTH123
            except FileNotFoundError:  # removed with its directory by the process that held it
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise InUse(path.parent) from None
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                raise InputError(
                    f"{path.parent}: this file system has no locks ({error.strerror}). Set "
                    f"{VARIABLE}=lease, for all processes that use it."
                ) from None
            if _is_open_file(file, path):
                with contextlib.suppress(OSError):  # a full disk: who holds it is not shown
                    file.truncate(0)
                    file.write(owner().decode())
                    file.flush()
                yield file
                return


def _is_open_file(file: IO[str], path: epath.Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.fstat(file.fileno()).st_ino == os.stat(os.fspath(path)).st_ino  # noqa: PTH116
    except FileNotFoundError:
        return False
