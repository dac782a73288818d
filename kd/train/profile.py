"""A trace of a few steps of a run, for xprof, TensorBoard or Perfetto."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax


class Profile:
    """Context that traces a number of steps, after the first dispatch of each program has compiled.

    A shorter run gets a shorter trace. It is written to `directory/plugins/profile/<time>`.
    """

    def __init__(self, directory: os.PathLike | str, steps: int):
        self._directory, self._left = os.fspath(directory), steps
        self._warm: set[int] = set()
        self._on = False

    def watch(self, updates: Mapping[int, Callable]) -> Mapping[int, Callable]:
        """The same functions, traced; unchanged if nothing is to be traced."""
        if self._left <= 0:
            return updates
        return {size: self._watched(size, f) for size, f in updates.items()}

    def _watched(self, size: int, function: Callable) -> Callable:
        def call(*arguments: Any) -> Any:
            if self._left > 0 and not self._on and size in self._warm:
                jax.profiler.start_trace(self._directory, create_perfetto_trace=True)
                self._on = True
            result = function(*arguments)
            self._warm.add(size)
            if self._on:
                self._left -= int(arguments[-1])
                if self._left <= 0:
                    jax.block_until_ready(result)
                    self._stop()
            return result

        return call

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._on = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._on:
            self._stop()
