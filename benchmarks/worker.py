"""A part of a benchmark that runs in a process of its own, for what a process decides once: XLA's flags, the number of devices."""

import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax

type Build = Callable[..., Callable[[], Any]]


class Worker:
    """Calling it has the other process call what `build(*arguments)` made there, and returns the seconds of that.

    Args:
      build: a function of a module, so that it can be sent.
      arguments: its own.
      flags: XLA_FLAGS of the process.
      devices: how many it simulates on a CPU.
      clock: `perf_counter`, or `process_time`, which other work on the machine touches less: seconds that the processors spent.
    """

    def __init__(
        self,
        build: Build,
        *arguments: Any,
        flags: str = "",
        devices: int = 1,
        clock: str = "perf_counter",
    ):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, build, arguments, devices, clock), daemon=True
        )
        own = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
        with mock.patch.dict(os.environ, {"XLA_FLAGS": own}):
            self._process.start()
        theirs.close()

    def __call__(self) -> float:
        self._pipe.send(None)
        return self._pipe.recv()


def _serve(pipe: Any, build: Build, arguments: tuple, devices: int, clock: str) -> None:
    jax.config.update("jax_num_cpu_devices", devices)
    part, now = build(*arguments), getattr(time, clock)
    while True:
        try:
            pipe.recv()
        except EOFError:  # the benchmark has ended
            return
        start = now()
        jax.block_until_ready(part())
        pipe.send(now() - start)
