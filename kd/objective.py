"""Combinators of objectives: a weighted sum of named terms, and the lift of one term to many teachers.

An objective is a Flax module, `__call__(view) -> [b]` (or a scalar where the method compares examples). What it trains (a
regressor, a variance) are its params; what it remembers (a memory bank, BatchNorm) are its other collections.
"""

import dataclasses
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.types import View

type Weight = float | Callable[[Array], Array]


class Weighted(nn.Module):
    """Sum of named terms.

    Attributes:
      terms: {name: objective}.
      weights: {name: float or schedule}; a schedule maps the step, int [], to a weight.

    Returns:
      The loss, a scalar in float32, and the mean of each term before its weight.
    """

    terms: Mapping[str, nn.Module]
    weights: Mapping[str, Weight]

    def __call__(self, view: View) -> tuple[Float[Array, ""], dict[str, Array]]:
        with jax.default_matmul_precision("float32"):  # whatever the networks' is
            losses = {
                name: jnp.mean(term(view).astype(jnp.float32))
                for name, term in self.terms.items()
            }
        weight = lambda w: w(view.step) if callable(w) else w
        total = sum(weight(self.weights[name]) * loss for name, loss in losses.items())
        return jnp.asarray(total, jnp.float32), losses


class PerTeacher(nn.Module):
    """Mean over m stacked teachers of an objective of one teacher, each with parameters and memory of its own."""

    objective: nn.Module

    def __call__(self, view: View) -> Float[Array, "*b"]:
        def one(module: nn.Module, teacher, variables) -> Array:
            return module(
                dataclasses.replace(view, teacher=teacher, teacher_variables=variables)
            )

        lifted = nn.vmap(
            one,
            variable_axes={True: 0},
            split_rngs={True: True},
        )
        return jnp.mean(
            lifted(self.objective, view.teacher, view.teacher_variables), axis=0
        )
