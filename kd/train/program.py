"""The compiled programs of a run: steps of all seeds at once, on data that lives on the device.

Everything that varies between dispatches (first step, number of steps, epoch, order of examples) is
an argument, so there is one program for each batch size. Every step runs through the same program,
so the weights do not depend on where a run was interrupted.

Many steps make one dispatch, in a loop on the device of dynamic length. It is not `lax.scan`: a
scan of another length, for the end of an epoch, would be another program, and XLA unrolls a scan of
length one into code that rounds differently. On a CPU, XLA's convolutions are not put into loops,
since it has no fast code for their gradients there (a step of a small CNN, batch 32, on two cores:
49 ms alone, 465 ms within a loop); these steps are dispatched one by one. oneDNN's convolutions
take less within a loop than alone (0.85).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array, Int, Key, PRNGKeyArray

from kd.data.mix import Mix, with_partners
from kd.devices import options
from kd.devices.vectorize import map_stacked
from kd.step import Step
from kd.types import Batch, DistillState, PyTree

type Logs = dict[str, Array]
"""Metrics of several updates, float [s, u]."""

type Update = Callable[..., tuple[DistillState, dict[str, Array]]]


def seed_keys(seed: int, seeds: int) -> Key[Array, " s"]:
    """Keys [s] of `seeds` students: student i equals the only student of a run with seed + i."""
    return jax.vmap(jax.random.key)(jnp.arange(seed, seed + seeds))


def make_order(num_examples: int) -> Callable[[Array, Array], Int[Array, "s n"]]:
    """`order(keys [s], epoch) -> int32 [s, n]`: each seed's order of the examples in that epoch."""

    def order(keys: Key[Array, " s"], epoch: Array) -> Int[Array, "s n"]:
        def one(key: PRNGKeyArray) -> Array:
            # Domain separation: no other use of the seed's key draws the same numbers.
            key = jax.random.fold_in(jax.random.fold_in(key, 0x0D3), epoch)
            return jax.random.permutation(key, num_examples).astype(jnp.int32)

        return jax.vmap(one)(keys)

    return order


def make_init_all(init: Callable, size: int, per_student: bool, mix: Mix | None = None) -> Callable:
    """`init` of all seeds on the first `size` examples.

    Args:
      init: from `kd.init.make_init`.
      size: of a batch.
      per_student: whether the teacher's weights have a leading axis [s].
      mix: how images are mixed, if they are.

    Returns:
      `(keys [s], frozen, data, warm start variables [s, ...]) -> states [s]`.
    """

    def init_all(keys: jax.Array, frozen: PyTree, data: PyTree, warm: PyTree) -> DistillState:
        batch = {name: values[:size] for name, values in data.items()}
        batch |= {"index": jnp.arange(size), "epoch": jnp.zeros((), jnp.int32)}
        batch = mix.pair(keys[0], batch) if mix else batch

        def init_seed(key: jax.Array, teacher: PyTree, warm: PyTree) -> DistillState:
            return init(key, {"teacher": teacher, "tables": frozen["tables"]}, batch, warm)

        axes = (0, 0 if per_student else None, 0)
        return jax.vmap(init_seed, axes)(keys, frozen["teacher"], warm)

    return init_all


def make_update(
    step: Step,
    batch_size: int,
    how: str = "vmap",
    per_student: bool = False,
    place: Callable[[Batch], Batch] = lambda batch: batch,
    repeats: bool = False,
    mix: Mix | None = None,
) -> Update:
    """`update(states, frozen, data, order, epoch, first) -> (states, metrics)`: all seeds' step.

    Args:
      step: of one student, see `kd.step.make_step`.
      batch_size: examples in the batch.
      how: over seeds, see `kd.devices.vectorize.map_stacked`.
      per_student: whether the teacher's weights have a leading axis [s], one teacher per student.
      place: sharding constraint on the batch.
      repeats: whether an epoch's order may have an example several times. The batch then holds
        `position` int [b], their places in the order.
      mix: how images are mixed, if they are. The batch then holds the partners of its examples.

    The arguments: states stacked over seeds [s, ...]; frozen as `step` takes it; data `{"image":
    [n, ...], "label": [n]}`, or `pictures` [s, b, ...], each seed's images of this batch, in place
    of `image`; order int [s, n]; epoch and the position in `order` of the first example, int [].
    The metrics are [s].
    """

    def update(
        states: DistillState,
        frozen: PyTree,
        data: dict[str, Array],
        order: Int[Array, "s n"],
        epoch: Int[Array, ""],
        first: Int[Array, ""],
    ) -> tuple[DistillState, dict[str, Array]]:
        pictures = data.get("pictures")

        def update_seed(state: DistillState, teacher: PyTree, index: Array, streamed: Any) -> Any:
            def read(chosen: Array, position: Array, streamed: Any) -> Batch:
                image = data["image"][chosen] if streamed is None else streamed
                batch = {"image": image, "label": data["label"][chosen], "index": chosen}
                return batch | ({"position": position} if repeats else {})

            position = first + jnp.arange(batch_size, dtype=jnp.int32)
            batch = {**read(index, position, streamed), "epoch": epoch}
            if mix is not None:  # partners are read from the data, not from another device
                partners = mix.partners(state.key, epoch, first, batch_size)
                of_partners = None if streamed is None else streamed[partners]
                other = read(index[partners], position[partners], of_partners)
                batch = with_partners(batch, other, first)
            weights = {"teacher": teacher, "tables": frozen["tables"]}
            return step(state, weights, place(batch))

        start = (jnp.zeros((), jnp.int32), first)
        index = jax.lax.dynamic_slice(order, start, (order.shape[0], batch_size))
        axes = (0, 0 if per_student else None, 0, None if pictures is None else 0)
        return map_stacked(update_seed, how, axes)(states, frozen["teacher"], index, pictures)

    return update


def on_one_device(f: Callable) -> Callable:
    """`f(states, *rest)` jitted; it donates the states."""
    return options.jit(f, donate_argnums=0)


def make_updates(
    update: Update,
    batch_size: int,
    capacity: int,
    loop: str = "device",
    compile: Callable[[Callable], Callable] = on_one_device,
    pictures: Callable[[int, int], Array] | None = None,
) -> Callable[..., tuple[DistillState, Logs]]:
    """`updates(states, frozen, data, order, epoch, start, count) -> (states, logs)`, compiled.

    Args:
      update: from `make_update`.
      batch_size: examples in each step.
      capacity: most steps in one call.
      loop: `device`, one dispatch for all steps, or `host`, a dispatch for each.
      compile: on several devices see `kd.devices.mesh.compiler` and `kd.devices.pmap.compiler`. It
        donates the states.
      pictures: for loop `host`, where images are not on the device: `pictures(epoch, first) -> [s,
        b, ...]`, those of the batch.

    It donates the states. `start` is the position in `order` of the first example, `count` the
    number of steps. The logs are {metric: [s, u]} with u = capacity or count, of which the first
    `count` columns are filled.
    """
    if loop == "host":
        return _OneByOne(compile(update), batch_size, pictures)

    def updates(
        states: DistillState,
        frozen: PyTree,
        data: dict[str, Array],
        order: Int[Array, "s n"],
        epoch: Int[Array, ""],
        start: Int[Array, ""],
        count: Int[Array, ""],
    ) -> tuple[DistillState, Logs]:
        program, results = jax.make_jaxpr(update, return_shape=True)(
            states, frozen, data, order, epoch, start
        )
        evaluate, structure = core.jaxpr_as_fun(program), jax.tree.structure(results)

        def body(i: Array, carry: tuple[DistillState, Logs]) -> Any:
            first = start + i * batch_size
            leaves = evaluate(*jax.tree.leaves((carry[0], frozen, data, order, epoch, first)))
            states, metrics = jax.tree.unflatten(structure, leaves)
            logs = {k: v.at[:, i].set(metrics[k]) for k, v in carry[1].items()}
            return states, logs

        logs = {
            name: jnp.zeros((order.shape[0], capacity), value.dtype)
            for name, value in results[1].items()
        }
        return jax.lax.fori_loop(0, count, body, (states, logs))

    return compile(updates)


def trace(updates: Callable, states: PyTree, frozen: PyTree, data: PyTree, order: Any) -> None:
    """Traces the updates of `make_updates` on shapes, and raises what the first call would.

    That call does not trace them again if the shapes have the shardings of its arguments. `data`
    has `pictures` [s, b, ...] if they are streamed.
    """
    number = jax.ShapeDtypeStruct((), jnp.int32)
    if isinstance(updates, _OneByOne):
        jax.eval_shape(updates.update, states, frozen, data, order, number, number)
    else:
        jax.eval_shape(updates, states, frozen, data, order, number, number, number)


class _OneByOne:
    """`updates` of `make_updates` with a dispatch for each step."""

    def __init__(self, update: Any, batch_size: int, pictures: Callable | None):
        self.update, self._batch_size = update, batch_size
        self._pictures = pictures

    def __call__(
        self, states: DistillState, frozen: PyTree, data: dict[str, Array], *order: Array
    ) -> tuple[DistillState, Logs]:
        """See `make_updates`; `order` is the order, the epoch, the start and the count."""
        indices, epoch, start, count = order
        columns = []
        for i in range(int(count)):
            first = start + i * self._batch_size
            if self._pictures is not None:
                data = {**data, "pictures": self._pictures(int(epoch), int(first))}
            states, metrics = self.update(states, frozen, data, indices, epoch, first)
            columns.append(metrics)
        return states, {
            name: jnp.stack([metrics[name] for metrics in columns], axis=1) for name in columns[0]
        }

    def _cache_size(self) -> int:
        """Number of compiled programs, as jax's compiled functions report it."""
        return self.update._cache_size()
