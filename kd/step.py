"""The train step: augmentation, teacher outputs, the student's gradient and its update, in one.

It reads no config and touches no file. The caller applies `jit`, `vmap` over seeds, loops and
sharding:

    step = jax.jit(make_step(student, objective, teacher, optax.sgd(0.1)), donate_argnums=0)
    state = make_init(student, objective, teacher, optax.sgd(0.1))(jax.random.key(0), frozen, batch)
    state, metrics = step(state, frozen, batch)
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from kd import accumulation, functions, labels
from kd.devices import pmap
from kd.errors import InputError
from kd.models.adapted import adapt
from kd.objective import check_loss, check_objective, check_view
from kd.types import (
    Augment,
    Batch,
    DistillState,
    Mixture,
    Outputs,
    PyTree,
    Teacher,
    View,
    no_augmentation,
    outputs_of,
)

type Step = Callable[[DistillState, PyTree, Batch], tuple[DistillState, dict[str, Array]]]


def make_step(
    student: Any,
    objective: Any,
    teacher: Teacher,
    tx: optax.GradientTransformation,
    augment: Augment = no_augmentation,
    split: Callable[[Batch], Batch] = lambda batch: batch,
    axis_name: str | None = None,
    accumulate: int = 1,
    unroll: bool = False,
) -> Step:
    """`step(state, frozen, batch) -> (state, metrics)`: one update of the student, to be jitted.

    Args:
      student: Flax module that returns `Outputs` or logits, see `kd.models.adapted.adapt`.
      objective: Flax module, `apply(variables, view) -> (loss, {term: value})`; see
        `kd.objective.Weighted`.
      teacher: see `kd.types.Teacher`.
      tx: optimizer of the student's and the objective's parameters.
      augment: `augment(key, batch) -> batch`, applied before both networks, so that teacher and
        student see the same view.
      split: sharding constraint on the student's batch, where it is split further than the
        teacher's.
      axis_name: under `jax.pmap` or `jax.shard_map`, the mapped axis over which the batch is split.
        BatchNorm then takes its moments over the axis, the objective gets the full batch, gathered
        over the axis (methods that compare or remember examples depend on it), and the gradient is
        averaged over the axis.
      accumulate: number of parts of the batch that are computed one after the other, to save
        memory; their gradients make one update. Augmentation, networks and objective get a part:
        BatchNorm's moments are of a part, its running statistics move once for each, and a method
        that compares or remembers examples sees those of the part. Means over examples, and over
        labelled ones, are of the batch.
      unroll: whether the parts are written out, where loops are slow; see `kd.accumulation`.

    `frozen = {"teacher": weights, "tables": tables}` is an argument: closed over, weights would
    become constants of the program. Metrics are scalars: `loss`, each term by its name, `accuracy`
    of the student on the labelled examples of the batch (NaN where it has none; of a mixed image
    the share whose label is hit), `grad_norm`.

    Raises:
      InputError: no Flax module; or, where the step is traced, outputs that do not fit together,
        see `kd.objective.check_view`.
    """
    student = adapt(student, "the student")
    check_objective(objective)
    of_student, of_teacher = functions.of_student(student), functions.of_teacher(teacher)

    gather = partial(_gather, axis_name)

    def one_part(
        state: DistillState,
        frozen: PyTree,
        keys: Key[Array, "3"],
        every: Array | None,
        stats: PyTree,
        batch: Batch,
        number: Any = None,
    ) -> tuple[PyTree, tuple[PyTree, dict[str, Array]]]:
        """The gradient and metrics of a batch, or of a part of the one whose labels are `every`."""
        k_student, k_objective, k_teacher = keys
        if number is not None:  # each part draws its own dropout masks
            k_student, k_objective = (jax.random.fold_in(k, number) for k in keys[:2])
        k_function = k_student  # on all devices the same
        if axis_name:  # each device draws its own dropout masks
            k_student = jax.random.fold_in(k_student, jax.lax.axis_index(axis_name))
        batch = {**augment(state.key, batch), "key": k_teacher}
        target = functions.answers(teacher, frozen["teacher"], state.teacher, batch)
        batch = split(batch)

        def loss_fn(params: PyTree) -> tuple[Float[Array, ""], tuple]:
            with pmap.shared_moments(axis_name):
                outputs, student_stats = student.apply(
                    {"params": params["student"], **stats["student"]},
                    batch["image"],
                    train=True,
                    rngs={"dropout": k_student},
                    mutable=list(stats["student"]),
                )
            outputs = outputs_of(outputs, student)
            view = View(
                gather(outputs),
                gather(target),
                gather(batch),
                frozen["tables"],
                state.step,
                jax.lax.stop_gradient(frozen["teacher"]),
                of_student({"params": params["student"], **stats["student"]}, k_function),
                of_teacher(frozen["teacher"], state.teacher, gather(batch)),
                gather({"label": every})["label"] if every is not None else None,
            )
            check_view(view)
            returned, objective_stats = objective.apply(
                {"params": params["objective"], **stats["objective"]},
                view,
                rngs={"objective": k_objective},
                mutable=list(stats["objective"]),
            )
            loss, terms = check_loss(returned)
            return loss, (
                {"student": student_stats, "objective": objective_stats},
                terms,
                outputs.logits,
            )

        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (stats, terms, logits)), grads = gradient(state.params)
        right = labels.of_labels(lambda label: correct(logits, label), batch)
        right = labels.mean_over_known(right, labels.of_pairs(batch), jnp.nan, axis_name, every)
        metrics = {"loss": loss, **terms, "accuracy": right}
        return flax.core.unfreeze(stats), (grads, metrics)

    def step(
        state: DistillState, frozen: PyTree, batch: Batch
    ) -> tuple[DistillState, dict[str, Array]]:
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
        part = partial(one_part, state, frozen, keys)
        if accumulate == 1:
            stats, (grads, metrics) = part(None, state.stats, batch)
        else:
            stats, (grads, metrics) = accumulation.over_parts(
                partial(part, labels.of_pairs(batch)), state.stats, batch, accumulate, unroll
            )
        if axis_name:
            grads = jax.lax.pmean(grads, axis_name)
        updates, opt = tx.update(grads, state.opt, state.params)
        params: PyTree = optax.apply_updates(state.params, updates)
        state = dataclasses.replace(state, step=state.step + 1, params=params, stats=stats, opt=opt)
        state = dataclasses.replace(state, teacher=teacher.update(state.teacher, state.student))
        metrics["grad_norm"] = optax.tree.norm(grads)
        return state, metrics

    return step


def _gather(axis_name: str | None, tree: Any) -> Any:
    """Outputs or a batch, gathered from all devices in the order of the examples.

    Raises InputError for outputs whose axis of examples is unknown.
    """
    if axis_name is None or tree is None:
        return tree
    if isinstance(tree, tuple) and tree and isinstance(tree[0], Outputs):
        return tuple(_gather(axis_name, group) for group in tree)
    if isinstance(tree, Mixture):
        axis = tree.members.ndim - 2
    elif isinstance(tree, Outputs):
        axis = 0 if tree.logits is None else tree.logits.ndim - 2
    elif isinstance(tree, dict):
        axis = 0
    else:
        raise InputError(
            f"a teacher that gives {type(tree).__name__} does not run under pmap: nothing says "
            "which axis its examples are. Use config.devices.transform = 'jit'."
        )
    gather = partial(jax.lax.all_gather, axis_name=axis_name, axis=axis, tiled=True)
    return jax.tree.map(lambda x: gather(x) if x.ndim > axis else x, tree)


def make_eval(
    model: nn.Module, augment: Augment = no_augmentation
) -> Callable[[PyTree, Batch], Outputs]:
    """`evaluate(variables, batch) -> Outputs` of a network in evaluation mode."""
    model = adapt(model)

    def evaluate(variables: PyTree, batch: Batch) -> Outputs:
        image = augment(jax.random.key(0), batch)["image"]
        return outputs_of(model.apply(variables, image, train=False), model)

    return evaluate


def correct(logits: Float[Array, "... b c"], label: Array) -> Float[Array, "... b"]:
    """1.0 where the largest logit is the label's."""
    return (jnp.argmax(logits, -1) == jnp.broadcast_to(label, logits.shape[:-1])).astype(
        jnp.float32
    )
