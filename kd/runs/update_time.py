"""Processor time of an update, without compilation and evaluations."""

import statistics
import time


class UpdateTime:
    """Processor time from one dispatch of updates to the next, over all threads of the process.

    Unlike a clock's it does not grow while other processes have the processor.
    """

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._last: float | None = None

    def add(self, updates: int) -> None:
        """Notes the end of a dispatch.

        Args:
          updates: of the dispatch; 0 where something else ended, such as an evaluation.
        """
        now = time.process_time()
        if updates and self._last is not None:
            self._seconds.append((now - self._last) / updates)
        self._last = now

    @property
    def median(self) -> float | None:
        """Seconds of an update of all seeds, the median over dispatches; None before two ended."""
        return statistics.median(self._seconds) if self._seconds else None
