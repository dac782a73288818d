"""Times several functions alternately, A B C A B C ..., so that other work affects all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax


def interleave(
    functions: Mapping[str, Callable[[], Any]],
    repeats: int,
    warmup: int = 1,
    processor: dict[str, list[float]] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each call of each function, in `repeats` rounds after `warmup` untimed ones.

    Args:
      functions: by name, without arguments; their results are waited for. A function that returns
        a float has measured its own seconds.
      repeats: rounds; in each, every function is called once, in order.
      warmup: rounds before them.
      processor: is filled with the seconds of all processors in the same calls, which other work
        on the machine affects less.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    spent: dict[str, list[float]] = {name: [] for name in functions}
    for i in range(warmup + repeats):
        for name, function in functions.items():
            used, start = time.process_time(), time.perf_counter()
            result = jax.block_until_ready(function())
            if i >= warmup:
                elapsed = time.perf_counter() - start
                spent[name].append(time.process_time() - used)
                seconds[name].append(result if isinstance(result, float) else elapsed)
    if processor is not None:
        processor.update(spent)
    return seconds


class Ratio(NamedTuple):
    """Median, smallest and largest quotient of the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Quotients of two lists of seconds, round by round."""
    quotients = [a / b for a, b in zip(above, below, strict=True)]
    return Ratio(statistics.median(quotients), min(quotients), max(quotients))


def added(*lists: Sequence[float]) -> list[float]:
    """Sums of several functions' seconds, round by round."""
    return [sum(round_) for round_ in zip(*lists, strict=True)]


def over_parts(rows: Sequence[Mapping[str, Any]], first: str, second: str) -> list[list[str]]:
    """For each row its case, `fused` over the sum of two parts, and the share of the first."""
    lines = []
    for row in rows:
        seconds = row["seconds"]
        parts = added(seconds[first], seconds[second])
        total, share = ratio(seconds["fused"], parts), ratio(seconds[first], parts)
        lines.append([row["case"], str(total), str(share)])
    return lines
