"""Combinators of objectives: a weighted sum of named terms, and lifts to several teachers.

An objective is a Flax module, `__call__(view: View)`, that returns one number per example, [b],
or a scalar where the method compares examples. What it trains (a regressor, a variance) are its
params; what it keeps between steps (a memory bank, BatchNorm statistics) are its other
collections. Its random stream is `objective`. The pure functions that it feeds are in `kd.losses`.

Class attributes of an objective declare what it requires of a run. All are optional, and checked
before the run starts:

- `needs`, names of what it reads beyond logits and features:
  - `batch.index`: the place of each image in the training set, each at most once in a batch;
  - `batch.views`: two augmented views of each image in a batch (`config.second_view`);
  - `tables.order`, `tables.start`, `tables.count`: the training images of each class, see
    `kd.data.base.class_tables`;
  - `teacher_variables`: the teacher's weights, so networks and not stored logits;
  - `init`: a run to start from (`config.init`) that trained the same term.
- `least_batch`: the smallest batch that it accepts; 1 if undeclared.
- `one_size`: True if all batches must have the same size.
- `least_epochs`: the epochs after which its own schedule is complete, often a property.
- `DIRICHLET`: True if exp(logits) of its student are the concentrations of a Dirichlet, as
  `kd report uncertainty` then reads them.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.ranges import NonNegative
from kd.types import View

type Weight = NonNegative | Callable[[Array], Array]


class Weighted(nn.Module):
    """Sum of named terms.

    Attributes:
      terms: {name: objective}.
      weights: {name: float or schedule}; a schedule maps the step, int [], to a weight.

    Returns:
      The loss, a scalar in float32, and {name: mean of the term before its weight}. For a cohort of
      students, logits [k, b, c], the loss is the sum of the peers' losses, so that each peer gets
      the gradient of its own loss; the terms are means over peers.
    """

    terms: Mapping[str, nn.Module]
    weights: Mapping[str, Weight]

    def __call__(self, view: View) -> tuple[Float[Array, ""], dict[str, Array]]:
        with jax.default_matmul_precision("float32"):  # whatever that of the networks is
            losses = {
                name: jnp.mean(_of_each_peer(name, term, view).astype(jnp.float32))
                for name, term in self.terms.items()
            }
        weight = lambda w: w(view.step) if callable(w) else w
        total = sum(weight(self.weights[name]) * loss for name, loss in losses.items())
        peers = view.student.logits.shape[:-2]
        return jnp.asarray(math.prod(peers) * total, jnp.float32), losses


def _of_each_peer(name: str, term: nn.Module, view: View) -> Array:
    """The term's loss, checked to be [k, b] where the student is a cohort.

    Raises:
      InputError: the term compares examples, or is for one student.
    """
    shape = view.student.logits.shape[:-1]
    if len(shape) == 1:
        return term(view)
    refused = InputError(
        f"config.objective.{name} gives no loss for each peer of a cohort and each example: it "
        "compares examples, or is for one student. Take the term out, or train separate students "
        "with config.seeds."
    )
    try:
        loss = term(view)
    except (TypeError, ValueError) as error:  # shapes that do not fit together
        raise (error if isinstance(error, InputError) else refused) from error
    if loss.shape != shape:
        raise refused
    return loss


class PerTeacher(nn.Module):
    """Weighted mean of an objective over m stacked teachers.

    Each teacher has its own copy of the objective's parameters and other collections.

    Attributes:
      objective: for one teacher.
      weights: of the teachers, [m], of sum one; None: all equal.
    """

    objective: nn.Module
    weights: Sequence[float] | None = None

    def __call__(self, view: View) -> Float[Array, "*b"]:
        def of_one_teacher(module: nn.Module, teacher, variables) -> Array:
            return module(dataclasses.replace(view, teacher=teacher, teacher_variables=variables))

        lifted = nn.vmap(of_one_teacher, variable_axes={True: 0}, split_rngs={True: True})
        losses = lifted(self.objective, view.teacher, view.teacher_variables)
        if self.weights is None:
            return jnp.mean(losses, axis=0)
        weights = jnp.asarray(self.weights, jnp.float32)
        return jnp.tensordot(weights, losses.astype(jnp.float32), axes=1)


class PerGroup(nn.Module):
    """Sum over groups of teachers, one group per architecture, whose features differ in shape.

    Attributes:
      objectives: the lifted objective of each group, in the order of `view.teacher`.
    """

    objectives: Sequence[PerTeacher]

    def __call__(self, view: View) -> Float[Array, "*b"]:
        groups = zip(self.objectives, view.teacher, view.teacher_variables, strict=True)  # pyrefly: ignore
        losses = [
            objective(dataclasses.replace(view, teacher=teacher, teacher_variables=variables))
            for objective, teacher, variables in groups
        ]
        return jnp.sum(jnp.stack(losses), axis=0)
