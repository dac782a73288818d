"""The compiled programs of a run: many updates a dispatch, for all seeds at once, on data that lives on the device.

Everything that varies between dispatches (the first update, how many, the epoch, the order of the examples) is an argument,
so that there is one program for each batch shape, whatever the number of updates. The loop has a dynamic length rather than
being a `lax.scan`: a scan of another length for the tail of an epoch would be another program, and XLA unrolls a scan of
length one into code whose last bit differs. Here every update runs through the same loop body, so that where a run was cut
and resumed cannot be seen in its weights.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from kd.step import Step
from kd.transform import over
from kd.types import Batch, DistillState, PyTree

type Logs = dict[str, Float[Array, "s u"]]


def seed_keys(seed: int, seeds: int) -> Key[Array, " s"]:
    """Keys of `seeds` students, [s]: student i of a run equals a run alone with seed + i."""
    return jax.vmap(jax.random.key)(jnp.arange(seed, seed + seeds))


def make_order(num_examples: int) -> Callable[[Array, Array], Int[Array, "s n"]]:
    """`order(keys [s], epoch) -> int32 [s, n]`: each seed's order of the examples in that epoch."""

    def order(keys: Key[Array, " s"], epoch: Array) -> Int[Array, "s n"]:
        def one(key: PRNGKeyArray) -> Array:
            # A name of its own, so that no other use of the seed's key draws the same numbers.
            key = jax.random.fold_in(jax.random.fold_in(key, 0x0D3), epoch)
            return jax.random.permutation(key, num_examples).astype(jnp.int32)

        return jax.vmap(one)(keys)

    return order


def make_updates(
    step: Step,
    batch_size: int,
    capacity: int,
    how: str = "vmap",
    paired: bool = False,
    place: Callable[[Batch], Batch] = lambda batch: batch,
) -> Callable[..., tuple[DistillState, Logs]]:
    """`updates(states, frozen, data, order, epoch, start, count) -> (states, logs)`.

    Args:
      step: one update of one student, see `kd.step.make_step`.
      batch_size: examples in each update.
      capacity: most updates in one call.
      how: over seeds, see `kd.transform.over`.
      paired: whether the teacher's weights, too, have a leading axis of seeds: one teacher for each student.
      place: sharding constraint on each batch.

    The arguments: states stacked over seeds [s, ...]; frozen as `step` takes it; data `{"image": [n, ...], "label": [n]}`;
    order [s, n]; epoch, the place in `order` of the first example, and the number of updates, all int []. The logs are
    {metric: [s, capacity]}, of which the first `count` columns are filled.
    """

    def updates(
        states: DistillState,
        frozen: PyTree,
        data: dict[str, Array],
        order: Int[Array, "s n"],
        epoch: Int[Array, ""],
        start: Int[Array, ""],
        count: Int[Array, ""],
    ) -> tuple[DistillState, Logs]:
        def one(state: DistillState, teacher: PyTree, index: Array) -> Any:
            batch = {
                "image": data["image"][index],
                "label": data["label"][index],
                "index": index,
                "epoch": epoch,
            }
            weights = {"teacher": teacher, "tables": frozen["tables"]}
            return step(state, weights, place(batch))

        all_seeds = over(one, how, (0, 0 if paired else None, 0))

        def indices(i: Array) -> Int[Array, "s b"]:
            first = (jnp.zeros((), jnp.int32), start + i * batch_size)
            return jax.lax.dynamic_slice(order, first, (order.shape[0], batch_size))

        def body(i: Array, carry: tuple[DistillState, Logs]) -> Any:
            states, logs = carry
            states, metrics = all_seeds(states, frozen["teacher"], indices(i))
            logs = {name: logs[name].at[:, i].set(metrics[name]) for name in logs}
            return states, logs

        shapes = jax.eval_shape(all_seeds, states, frozen["teacher"], indices(start))[1]
        logs = {
            name: jnp.zeros((order.shape[0], capacity), value.dtype)
            for name, value in shapes.items()
        }
        return jax.lax.fori_loop(0, count, body, (states, logs))

    return updates


def make_logits(
    evaluate: Callable[[PyTree, Batch], Any], batch_size: int, how: str = "map"
) -> Callable[[PyTree, Array], Float[Array, "s n c"]]:
    """`logits(variables, images) -> [s, n, c]` of stacked networks on a whole split, in one dispatch.

    Images are taken `batch_size` at a time; the last batch is filled up with the first image, which in evaluation mode
    touches no other example's result, and the filling is cut off.
    """

    def logits(variables: PyTree, images: Array) -> Float[Array, "s n c"]:
        n = images.shape[0]
        size = min(batch_size, n)
        index = jnp.arange(-(-n // size) * size)
        index = jnp.where(index < n, index, 0).reshape(-1, size)

        def one(weights: PyTree) -> Array:
            batch = lambda i: {
                "image": images[i],
                "index": i,
                "epoch": jnp.zeros((), jnp.int32),
            }
            found = jax.lax.map(lambda i: evaluate(weights, batch(i)).logits, index)
            return found.reshape(-1, found.shape[-1])[:n]

        return over(one, how, (0,))(variables)

    return logits
