"""Keeps what a failed load of a checkpoint leaves behind off the terminal.

Orbax reads arrays in tasks of an event loop. Where one of them fails, nobody awaits the others, and
Python prints a traceback or a warning for each.
"""

import contextlib
import gc
import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Generator
from typing import Any


@contextlib.contextmanager
def failures() -> Generator[list[Exception]]:
    """Context manager for a load that may fail: it prints nothing, neither now nor later.

    Yields:
      a list for what is to be raised after the block.
    """
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if not isinstance(sys.unraisablehook, _WithoutAnswers):
        sys.unraisablehook = _WithoutAnswers(sys.unraisablehook)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
        refusals: list[Exception] = []
        yield refusals
        if refusals:
            gc.collect()


class _WithoutAnswers:
    """A hook for exceptions that cannot be raised: drops those of coroutines that end unfinished,
    and of threads that answer to an event loop which is closed.
    """

    def __init__(self, others: Callable[[Any], Any]):
        self._others = others

    def __call__(self, what: Any) -> None:
        closed = isinstance(what.exc_value, RuntimeError) and "closed" in str(what.exc_value)
        if not (closed or inspect.iscoroutine(what.object)):
            self._others(what)
