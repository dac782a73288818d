"""The files of leases in a directory, on a mounted file system or in a bucket."""

import contextlib
import json
import os
import re
import socket
import time
import uuid
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from etils import epath

from kd.runs import buckets

JOBS = ("SLURM_JOB_ID", "RAY_JOB_ID", "LSB_JOBID", "PBS_JOBID")
"""Variables in which clusters name the job of a process."""

NAME = re.compile(r"\.lease-(\d+)")


@runtime_checkable
class Files(Protocol):
    """The files of leases in a directory."""

    def numbers(self) -> list[int]:
        """The numbers of all leases."""
        ...

    def create(self, number: int) -> bool:
        """Makes a lease, unless there is one of that number: False."""
        ...

    def renew(self, number: int) -> None: ...

    def remove(self, number: int) -> None: ...

    def age(self, number: int) -> float | None:
        """Seconds since it was renewed, by the clock of the file system; None if it is gone."""
        ...

    def content(self, number: int) -> dict[str, Any]:
        """What it says of its process; empty if it is gone or not yet written."""
        ...


def files_of(directory: epath.Path) -> Files:
    if buckets.is_bucket(directory):
        return _Objects(directory)
    return _Local(Path(os.fspath(directory)))


def machine() -> str:
    """The boot and the name space in which process numbers count; "" where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def start_of(pid: int) -> str:
    """When a process started, in ticks of the kernel; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def owner() -> bytes:
    """What a lease says of this process."""
    job = next((f"{name} {os.environ[name]}" for name in JOBS if os.environ.get(name)), "")
    pid = os.getpid()
    content = {"host": socket.gethostname(), "pid": pid, "job": job, "time": time.time()}
    return json.dumps(content | {"machine": machine(), "started": start_of(pid)}).encode()


def _numbers(names: list[str]) -> list[int]:
    return sorted(int(match[1]) for name in names if (match := NAME.fullmatch(name)))


def parsed(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


class _Local:
    """Files of a mounted file system. Making a file only if there is none is atomic on NFS, too."""

    def __init__(self, directory: Path):
        self._directory = directory

    def _path(self, number: int) -> Path:
        return self._directory / f".lease-{number}"

    def numbers(self) -> list[int]:
        self._clock()  # a change of its own makes an NFS client read the directory again
        return _numbers([path.name for path in self._directory.iterdir()])

    def create(self, number: int) -> bool:
        try:
            with self._path(number).open("xb") as file:
                file.write(owner())
        except FileExistsError:
            return False
        return True

    def renew(self, number: int) -> None:
        with self._path(number).open("r+b") as file:  # never made anew
            file.write(owner())
            file.truncate()

    def remove(self, number: int) -> None:
        self._path(number).unlink(missing_ok=True)

    def age(self, number: int) -> float | None:
        try:
            with self._path(number).open("rb") as file:  # opened, so that NFS asks its server
                changed = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return None
        return self._clock() - changed

    def content(self, number: int) -> dict[str, Any]:
        try:
            return parsed(self._path(number).read_bytes())
        except OSError:
            return {}

    def _clock(self) -> float:
        probe = self._directory / f".lease-{uuid.uuid4().hex}.part"
        try:
            with probe.open("xb") as file:
                file.write(b"?")
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


class _Objects:
    """Objects of a bucket, which are made on the condition that there is none of the name."""

    def __init__(self, directory: epath.Path):
        self._system = buckets.file_system(directory)
        self._directory = os.fspath(directory).rstrip("/")

    def _path(self, number: int) -> str:
        return f"{self._directory}/.lease-{number}"

    def numbers(self) -> list[int]:
        self._system.invalidate_cache()
        try:
            paths = self._system.ls(self._directory, detail=False)
        except FileNotFoundError:
            return []
        return _numbers([path.rstrip("/").rpartition("/")[2] for path in paths])

    def create(self, number: int) -> bool:
        try:
            self._system.pipe_file(self._path(number), owner(), mode="create")
        except FileExistsError:
            return False
        return True

    def renew(self, number: int) -> None:
        self._system.pipe_file(self._path(number), owner())

    def remove(self, number: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._path(number))

    def age(self, number: int) -> float | None:
        self._system.invalidate_cache()
        probe = f"{self._directory}/.lease-{uuid.uuid4().hex}.part"
        self._system.pipe_file(probe, b"?")
        try:
            now = self._system.modified(probe)
            return (now - self._system.modified(self._path(number))).total_seconds()
        except FileNotFoundError:
            return None
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._system.rm_file(probe)

    def content(self, number: int) -> dict[str, Any]:
        try:
            return parsed(self._system.cat_file(self._path(number)))
        except FileNotFoundError:
            return {}
