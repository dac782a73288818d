"""Accumulation: a batch in parts, one after the other, that together make one update.

Memory then holds the activations of one part in place of the batch. `kd.step` uses it, by
`config.accumulate`.
"""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from kd.errors import InputError
from kd.types import Batch, PyTree

type Part = Callable[[PyTree, Batch, Array], tuple[PyTree, PyTree]]
"""`part(stats, batch, number) -> (stats, values)`: `stats` go from part to part, `values` are means
over the part's examples, `number` int [] counts the parts from 0.
"""


def sizes(examples: int, parts: int) -> tuple[int, ...]:
    """The sizes of the parts, as equal as possible, larger ones first.

        >>> sizes(10, 4)
        (3, 3, 2, 2)

    Raises:
      InputError: more parts than examples.
    """
    if not 1 <= parts <= examples:
        raise InputError(
            f"accumulate = {parts}: a batch of {examples} examples has no {parts} parts; expected "
            f"1 to {examples}."
        )
    size, rest = divmod(examples, parts)
    return (size + 1,) * rest + (size,) * (parts - rest)


def over_parts(
    part: Part, stats: PyTree, batch: Batch, parts: int, unroll: bool = False
) -> tuple[PyTree, PyTree]:
    """The parts of a batch in order: `part` of each, with the statistics that the last one left.

    Of n equal parts, part i has the examples i, i + n, i + 2 n, ... of the batch: a batch that is
    split over devices stays split the same way, without communication.

    Args:
      part: see `Part`.
      stats: what the first part begins with.
      batch: entries with an axis are divided, others are the same for all parts.
      parts: their number, see `sizes`.
      unroll: written out in place of a loop of the program, for programs that are slow in loops;
        on a CPU two parts may then be in memory at once.

    Returns:
      `(stats, values)`, the values being means over the examples of the batch: those of each part
      weighted by its size, and summed in float32.
    """
    shared = {name: x for name, x in batch.items() if not jnp.ndim(x)}
    divided = {name: jnp.asarray(x) for name, x in batch.items() if jnp.ndim(x)}
    examples = len(next(iter(divided.values())))
    first = sizes(examples, parts)[0]
    one = {name: x[:first] for name, x in divided.items()} | shared
    kinds = jax.eval_shape(part, stats, one, jnp.int32(0))[1]
    wide = lambda x: jnp.promote_types(x.dtype, jnp.float32)
    carry = stats, jax.tree.map(lambda x: jnp.zeros(x.shape, wide(x)), kinds)
    number, start = 0, 0
    for size, same in groupby(sizes(examples, parts)):
        count = len(list(same))
        block = {name: x[start : start + size * count] for name, x in divided.items()}
        rows = {name: _dealt(x, count) for name, x in block.items()}
        numbers = jnp.arange(number, number + count)
        body = _summing(part, shared, size / examples)
        carry, _ = jax.lax.scan(body, carry, (rows, numbers), unroll=count if unroll else 1)
        number, start = number + count, start + size * count
    stats, total = carry
    back = lambda x, kind: x.astype(kind.dtype) if jnp.issubdtype(kind.dtype, jnp.floating) else x
    return stats, jax.tree.map(back, total, kinds)


def _dealt(x: Array, parts: int) -> Array:
    """[b, ...] to [parts, b / parts, ...], as cards are dealt."""
    return jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0)


def _summing(part: Part, shared: Batch, weight: float) -> Callable:
    """The body of a loop over parts of one size, which adds `weight` times the values of each."""

    def body(carry: tuple[PyTree, PyTree], entry: tuple[Batch, Int[Array, ""]]) -> Any:
        # Where the loop is written out, no part should begin before the last one has ended. On CPUs
        # about two are in memory at once all the same: benchmarks/accumulation.py.
        (stats, total), (rows, number) = jax.lax.optimization_barrier((carry, entry))
        stats, values = part(stats, rows | shared, number)
        total = jax.tree.map(lambda a, x: a + weight * x.astype(a.dtype), total, values)
        return (stats, total), None

    return body
