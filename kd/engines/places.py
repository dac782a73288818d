"""Whether the nodes of a cluster see the directory of the runs."""

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from kd.errors import InputError
from kd.runs import buckets, locks

OF_ONE_MACHINE = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Directories that no machine shares."""

EXPORTS = ("/var/lib/nfs/etab", "/etc/exports")
"""Where an NFS server lists what others mount."""


def is_this_machine(names: Iterable[str]) -> bool:
    """Whether all names of hosts are this machine's."""
    ours = {socket.gethostname(), socket.gethostname().partition(".")[0], "localhost", "127.0.0.1"}
    return all(name in ours for name in names)


def refuse_hidden(root: str, nodes: Iterable[str], what: str = "--runs") -> None:
    """Raises InputError if other machines are among the nodes, and cannot see a directory.

    Args:
      root: directory of all runs.
      nodes: names of the nodes' hosts.
      what: the directory is, for the message.
    """
    others = [name for name in nodes if not is_this_machine([name])]
    if not others or buckets.is_bucket(root) or locks.is_shared(root):
        return
    path, (point, kind) = Path(os.path.realpath(root)), locks.mount(root)
    if any(path.is_relative_to(exported) for exported in _exported()):
        return
    hidden = kind in ("tmpfs", "ramfs", "overlay") or any(
        path.is_relative_to(place) for place in OF_ONE_MACHINE
    )
    why = f"{path} is in memory or in a directory for temporary files"
    if not hidden:
        why = f"{path} is on {point} ({kind}), a disk of this machine that it does not export"
    raise InputError(
        f"{what} {root}: {why}, so that other nodes, such as {others[0]}, cannot see it. Give a "
        "directory that all nodes mount, or gs://BUCKET/runs; or --shared, if they do see it."
    )


def _exported() -> list[str]:
    """Directories that this machine exports."""
    exported = []
    for name in EXPORTS:
        try:
            lines = Path(name).read_text().splitlines()
        except OSError:
            continue
        exported += [line.split()[0] for line in lines if line.startswith("/")]
    return exported
