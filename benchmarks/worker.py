"""A part of a benchmark in a process of its own, for settings that hold for a process.

Such as the number of devices and the memory allocator.
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
    """A function in another process: calling it returns the CPU seconds of a call there.

    CPU time depends less than wall time on other work on the machine.

    Args:
      build: makes the function there; must be a module's function, so that it can be pickled.
      arguments: of `build`.
      devices: number of simulated CPU devices.
      environment: variables of the process, in addition to those of this one.
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
