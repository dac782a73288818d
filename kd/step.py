"""The heart: one function that computes augmentation, teacher outputs, the student's gradient and its update.

Nothing here reads a config or touches a file. `jit`, `vmap` over seeds, loops and sharding are applied by the caller:

    step = jax.jit(make_step(student, objective, teacher, optax.sgd(0.1)), donate_argnums=0)
    state = make_init(student, objective, teacher, optax.sgd(0.1))(jax.random.key(0), frozen, batch)
    state, metrics = step(state, frozen, batch)
"""

import dataclasses
from collections.abc import Callable
from typing import cast

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from kd.inherited import inherit
from kd.types import Batch, DistillState, Outputs, PyTree, Teacher, View

type Augment = Callable[[PRNGKeyArray, Batch], Batch]
type Step = Callable[
    [DistillState, PyTree, Batch], tuple[DistillState, dict[str, Array]]
]


def _as_given(key: PRNGKeyArray, batch: Batch) -> Batch:
    del key
    return batch


def _split(variables: PyTree) -> tuple[PyTree, PyTree]:
    """Params and the rest."""
    return variables.get("params", {}), {
        k: v for k, v in variables.items() if k != "params"
    }


def make_init(
    student: nn.Module,
    objective: nn.Module,
    teacher: Teacher,
    tx: optax.GradientTransformation,
    augment: Augment = _as_given,
) -> Callable[[PRNGKeyArray, PyTree, Batch], DistillState]:
    """`init(key, frozen, batch) -> DistillState`. The batch gives shapes; errors of fit between parts show up here."""

    def init(key: PRNGKeyArray, frozen: PyTree, batch: Batch) -> DistillState:
        key, k_student, k_objective, k_augment = jax.random.split(key, 4)
        batch = augment(k_augment, batch)
        variables = student.init(
            {"params": k_student, "dropout": k_student}, batch["image"], train=False
        )
        variables = inherit(variables, frozen["teacher"])
        mutable = teacher.init(variables)
        view = View(
            student=cast(
                Outputs, student.apply(variables, batch["image"], train=False)
            ),
            teacher=jax.lax.stop_gradient(
                teacher.apply(frozen["teacher"], mutable, batch)
            ),
            batch=batch,
            tables=frozen["tables"],
            step=jnp.zeros((), jnp.int32),
            teacher_variables=jax.lax.stop_gradient(frozen["teacher"]),
        )
        own = objective.init({"params": k_objective, "objective": k_objective}, view)
        (student_params, student_stats), (own_params, own_stats) = (
            _split(variables),
            _split(own),
        )
        params = {"student": student_params, "objective": own_params}
        return DistillState(
            step=jnp.zeros((), jnp.int32),
            key=key,
            params=params,
            stats={"student": student_stats, "objective": own_stats},
            opt=tx.init(params),
            teacher=mutable,
        )

    return init


def make_step(
    student: nn.Module,
    objective: nn.Module,
    teacher: Teacher,
    tx: optax.GradientTransformation,
    augment: Augment = _as_given,
) -> Step:
    """`step(state, frozen, batch) -> (state, metrics)`: one update of the student, for one `jax.jit`.

    Args:
      student: Flax module, `apply(variables, image, train=...) -> Outputs`.
      objective: Flax module, `apply(variables, view) -> (loss, {term: value})`; see `kd.objective.Weighted`.
      teacher: see `kd.types.Teacher`.
      tx: optimizer of the student's and the objective's parameters.
      augment: `augment(key, batch) -> batch`, before both networks: they see the same view by construction.

    `frozen = {"teacher": weights, "tables": facts}` is an argument so that weights are not baked into the program as constants.
    Metrics are scalars: `loss`, each term by its name, `accuracy` of the student on the batch, `grad_norm`.
    """

    def step(
        state: DistillState, frozen: PyTree, batch: Batch
    ) -> tuple[DistillState, dict[str, Array]]:
        k_student, k_objective = jax.random.split(
            jax.random.fold_in(state.key, state.step)
        )
        batch = augment(state.key, batch)
        target = jax.lax.stop_gradient(
            teacher.apply(frozen["teacher"], state.teacher, batch)
        )

        def loss_fn(params: PyTree) -> tuple[Float[Array, ""], tuple]:
            outputs, student_stats = student.apply(
                {"params": params["student"], **state.stats["student"]},
                batch["image"],
                train=True,
                rngs={"dropout": k_student},
                mutable=list(state.stats["student"]),
            )
            view = View(
                outputs,
                target,
                batch,
                frozen["tables"],
                state.step,
                jax.lax.stop_gradient(frozen["teacher"]),
            )
            (loss, terms), own_stats = objective.apply(
                {"params": params["objective"], **state.stats["objective"]},
                view,
                rngs={"objective": k_objective},
                mutable=list(state.stats["objective"]),
            )
            return loss, (
                {"student": student_stats, "objective": own_stats},
                terms,
                outputs.logits,
            )

        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (stats, terms, logits)), grads = gradient(state.params)
        updates, opt = tx.update(grads, state.opt, state.params)
        params: PyTree = optax.apply_updates(state.params, updates)
        stats = flax.core.unfreeze(stats)
        state = dataclasses.replace(
            state, step=state.step + 1, params=params, stats=stats, opt=opt
        )
        state = dataclasses.replace(
            state, teacher=teacher.update(state.teacher, state.student)
        )
        metrics = {
            "loss": loss,
            **terms,
            "accuracy": jnp.mean(correct(logits, batch["label"])),
            "grad_norm": optax.tree.norm(grads),
        }
        return state, metrics

    return step


def make_eval(
    model: nn.Module, augment: Augment = _as_given
) -> Callable[[PyTree, Batch], Outputs]:
    """`evaluate(variables, batch) -> Outputs` of a network in evaluation mode."""

    def evaluate(variables: PyTree, batch: Batch) -> Outputs:
        image = augment(jax.random.key(0), batch)["image"]
        return cast(Outputs, model.apply(variables, image, train=False))

    return evaluate


def correct(logits: Float[Array, "... b c"], label: Array) -> Float[Array, "... b"]:
    """1.0 where the largest logit is the label's."""
    return (
        jnp.argmax(logits, -1) == jnp.broadcast_to(label, logits.shape[:-1])
    ).astype(jnp.float32)
