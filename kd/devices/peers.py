"""Notices within seconds that another process of a run is gone.

A process that dies closes its connections. jax's own heartbeats take 100 seconds, in which the
others wait in a collective operation, and then end the process by SIGABRT. So every process keeps a
connection to process 0, which passes on who is gone.
"""

import contextlib
import ctypes
import select
import signal
import socket
import threading
import time
from typing import Any

import numpy as np

from kd import signals

GRACE_SECONDS = 2.0
"""How long a process may take to end by itself: what ends one process often ends all."""

CONNECT_SECONDS = 60.0
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Probes of an idle connection: a machine that vanishes without a word is noticed after 20 s."""

LEAVES = 255
"""What a process sends that has finished; any other number is that of a process that is gone."""

ADDRESS_BYTES = 256


class Watch:
    """The connections of this process.

    Attributes:
      gone: set once another process is gone.
    """

    def __init__(self, connections: dict[socket.socket, int]):
        self.gone = threading.Event()
        self._connections = connections
        threading.Thread(target=self._read, name="kd peers", daemon=True).start()

    def leave(self) -> None:
        """Tells the others that this process ends because the run is finished."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.sendall(bytes([LEAVES]))
        self._connections.clear()

    def _read(self) -> None:
        while connections := list(self._connections):
            for connection in select.select(connections, [], [], 1.0)[0]:
                index = self._connections.get(connection)
                if index is None:
                    continue
                try:
                    message = connection.recv(1)
                except OSError:
                    message = b""
                if message == bytes([LEAVES]):
                    self._connections.pop(connection, None)
                else:
                    self._lost(message[0] if message else index)
                    return

    def _lost(self, index: int) -> None:
        """Passes on that process `index` is gone, and ends this one."""
        self.gone.set()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.sendall(bytes([index]))
        time.sleep(GRACE_SECONDS)
        signals.end(f"process {index} of this run is gone")


_watch: Watch | None = None


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(number: int) -> None:
    """Called where jax aborts the process: it may have noticed first that a process is gone."""
    if _watch is None:  # not connected yet
        signals.end("another process of this run is gone")
    elif _watch.gone.wait(1.0):
        time.sleep(2 * GRACE_SECONDS)  # the thread that reads ends the process before


def expect_abort() -> None:
    """Puts what jax does where a process is gone, `abort()`, under the rules of this module.

    It works for calls in any thread, which a handler of Python's would not.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(_aborted, ctypes.c_void_p))


def start(host: str | None) -> None:
    """Starts to watch the other processes, after all have joined.

    Without a connection, such as through a firewall, only jax's heartbeats remain.

    Args:
      host: address of process 0; None for the name of its machine.
    """
    global _watch
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() == 1 or jax.process_count() >= LEAVES:
        return
    server, address = None, ""
    if jax.process_index() == 0:
        server = socket.create_server(("", 0))
        address = f"{host or socket.gethostname()}:{server.getsockname()[1]}"
    text = np.zeros(ADDRESS_BYTES, np.uint8)
    encoded = address.encode()[:ADDRESS_BYTES]
    text[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    shared = np.asarray(multihost_utils.broadcast_one_to_all(text)).astype(np.uint8)
    try:
        if server is not None:
            connections = _accept(server, jax.process_count() - 1)
        else:
            address = bytes(shared).rstrip(b"\0").decode()
            connections = {_connect(address, jax.process_index()): 0}
    except OSError:
        return
    _watch = Watch(connections)


def _accept(server: socket.socket, count: int) -> dict[socket.socket, int]:
    server.settimeout(CONNECT_SECONDS)
    connections = {}
    with server:
        while len(connections) < count:
            connection, _ = server.accept()
            connection.settimeout(CONNECT_SECONDS)
            index = connection.recv(1)
            if index:
                connections[_kept_alive(connection)] = index[0]
    return connections


def _connect(address: str, index: int) -> socket.socket:
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS)
    connection.sendall(bytes([index]))
    return _kept_alive(connection)


def _kept_alive(connection: socket.socket) -> Any:
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def watching() -> bool:
    """Whether other processes are watched."""
    return _watch is not None


def leave() -> None:
    """Tells the other processes that this one ends because the run is finished."""
    if _watch is not None:
        _watch.leave()


def await_end() -> None:
    """Returns after a moment, or never if another process is gone: this one ends then.

    To be called after an error of a collective operation, which may be how that shows first.
    """
    if _watch is not None and _watch.gone.wait(5.0):
        time.sleep(2 * GRACE_SECONDS)
