"""A part of a benchmark that runs in a process of its own, for what a process decides once: the number of devices."""

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import jax

type Build = Callable[..., Callable[[], Any]]


class Worker:
    """Calling it has the other process call what `build(*arguments)` made there, and returns the processors' seconds of that,
    which other work on the machine touches less.

    Args:
      build: a function of a module, so that it can be sent.
      arguments: its own.
      devices: how many it simulates on a CPU.
    """

    def __init__(self, build: Build, *arguments: Any, devices: int = 1):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, build, arguments, devices), daemon=True
        )
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
