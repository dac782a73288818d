"""A part of a benchmark that runs in a process of its own, for what a process decides once:
devices, where memory comes from.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import jax

type Build = Callable[..., Callable[[], Any]]


class Worker:
    """Calling it has the other process call what `build(*arguments)` made there, and returns the
    processors' seconds of that, which other work on the machine touches less.

    Args:
      build: a function of a module, so that it can be sent.
      arguments: its own.
      devices: how many it simulates on a CPU.
      environment: variables of the process, beside those of this one.
    """

    def __init__(
        self,
        build: Build,
        *arguments: Any,
        devices: int = 1,
        environment: Mapping[str, str] | None = None,
    ):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, build, arguments, devices), daemon=True
        )
        with mock.patch.dict(os.environ, environment or {}):
            self._process.start()
        theirs.close()

    def __call__(self) -> float:
        self._pipe.send(None)
        return self._pipe.recv()


def _serve(pipe: Any, build: Build, arguments: tuple, devices: int) -> None:
    jax.config.update("jax_num_cpu_devices", devices)
    part = build(*arguments)
    while True:
        try:
            pipe.recv()
        except EOFError:  # the benchmark has ended
            return
        start = time.process_time()
        jax.block_until_ready(part())
        pipe.send(time.process_time() - start)
