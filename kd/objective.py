"""Combinators of objectives: a weighted sum of named terms, and the lift of one term to many
teachers, of one kind or several.

An objective is a Flax module, `__call__(view) -> [b]` (or a scalar where the method compares
examples). What it trains (a regressor, a variance) are its params; what it remembers (a memory
bank, BatchNorm) are its other collections.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.types import View

type Weight = float | Callable[[Array], Array]


class Weighted(nn.Module):
    """Sum of named terms.

    Attributes:
      terms: {name: objective}.
      weights: {name: float or schedule}; a schedule maps the step, int [], to a weight.

    Returns:
      The loss, a scalar in float32, and the mean of each term before its weight. Of a cohort of
        students, logits [k, b, c], it
      is the sum of the peers' losses, so that the gradient of each is that of its own loss; the
        terms are means over them.
    """

    terms: Mapping[str, nn.Module]
    weights: Mapping[str, Weight]

    def __call__(self, view: View) -> tuple[Float[Array, ""], dict[str, Array]]:
        with jax.default_matmul_precision("float32"):  # whatever the networks' is
            losses = {
                name: jnp.mean(_of_each_peer(name, term, view).astype(jnp.float32))
                for name, term in self.terms.items()
            }
        weight = lambda w: w(view.step) if callable(w) else w
        total = sum(weight(self.weights[name]) * loss for name, loss in losses.items())
        peers = view.student.logits.shape[:-2]
        return jnp.asarray(math.prod(peers) * total, jnp.float32), losses


def _of_each_peer(name: str, term: nn.Module, view: View) -> Array:
    """The term. Raises InputError where the student is a cohort and the term is not a number for
    each peer and example.
    """
    shape = view.student.logits.shape[:-1]
    if len(shape) == 1:
        return term(view)
    why = InputError(
        f"config.objective.{name} does not say what each peer of a cohort loses on each example: "
        "it compares examples, or is of one student. Take the term out, or train students on their "
        "own, by config.seeds."
    )
    try:
        loss = term(view)
    except (TypeError, ValueError) as error:  # shapes that do not meet
        raise (error if isinstance(error, InputError) else why) from error
    if loss.shape != shape:
        raise why
    return loss


class PerTeacher(nn.Module):
    """Mean over m stacked teachers of an objective of one teacher, each with parameters and memory
    of its own.

    Attributes:
      objective: of one teacher.
      weights: what each teacher counts, [m]; None: all the same, of sum one.
    """

    objective: nn.Module
    weights: Sequence[float] | None = None

    def __call__(self, view: View) -> Float[Array, "*b"]:
        def one(module: nn.Module, teacher, variables) -> Array:
            return module(dataclasses.replace(view, teacher=teacher, teacher_variables=variables))

        lifted = nn.vmap(one, variable_axes={True: 0}, split_rngs={True: True})
        losses = lifted(self.objective, view.teacher, view.teacher_variables)
        if self.weights is None:
            return jnp.mean(losses, axis=0)
        weights = jnp.asarray(self.weights, jnp.float32)
        return jnp.tensordot(weights, losses.astype(jnp.float32), axes=1)


class PerGroup(nn.Module):
    """Sum over groups of teachers, one for each architecture, of a lifted objective of each: their
    features differ in shape.
    """

    objectives: Sequence[PerTeacher]

    def __call__(self, view: View) -> Float[Array, "*b"]:
        groups = zip(self.objectives, view.teacher, view.teacher_variables, strict=True)  # pyrefly: ignore
        losses = [
            objective(dataclasses.replace(view, teacher=teacher, teacher_variables=variables))
            for objective, teacher, variables in groups
        ]
        return jnp.sum(jnp.stack(losses), axis=0)
