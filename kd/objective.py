"""Combinators of objectives: a weighted sum of named terms, and lifts to several teachers.

An objective is a Flax module, `__call__(view: View)`, that returns one number per example, [b],
or a scalar where the method compares examples. What it trains (a regressor, a variance) are its
params; what it keeps between steps (a memory bank, BatchNorm statistics) are its other
collections. Its random stream is `objective`. The pure functions that it feeds are in `kd.losses`.

Class attributes of an objective declare what it requires of a run. All are optional, and checked
before the run starts:

- `needs`, names of what it reads beyond logits and features:
  - `batch.label`: the label of each example. The loss is then one number per example, and its mean
    is over those whose label is known (not -1);
  - `batch.index`: the place of each image in the training set, each at most once in a batch;
  - `batch.views`: two augmented views of each image in a batch (`config.second_view`);
  - `tables.order`, `tables.start`, `tables.count`: the training images of each class, see
    `kd.data.base.class_tables`;
  - `teacher_variables`: the teacher's weights, so networks and not stored logits;
  - `student_fn`, `teacher_fn`: a function of images; no teacher of stored logits is one;
  - `tables.level`: the unit of its images, with limits, see `kd.data.base.image_tables`;
  - `init`: a run to start from (`config.init`) that trained the same term.
- `mixes`: True if it takes both labels of images that are mixed (`kd.labels.of_labels`); one that
  reads labels, or tables of classes, and does not say so is refused with `config.mix`.
- `every_label`: True if it cannot do without the label of any image.
- `least_classes`: the number of classes that the training images must have at least, where it draws
  images by class; 1 if undeclared.
- `least_batch`: the smallest batch that it accepts; 1 if undeclared.
- `one_size`: True if all batches must have the same size.
- `clip_norm`: the norm to clip gradients at, where training needs that, as in the method's public
  code; a config that clips none is refused.
- `least_epochs`: the epochs after which its own schedule is complete, often a property.
- `DIRICHLET`: True if exp(logits) of its student are the concentrations of a Dirichlet, as
  `kd report uncertainty` then reads them.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd import labels
from kd.errors import InputError
from kd.ranges import NonNegative
from kd.types import Mixture, Outputs, View

type Weight = NonNegative | Callable[[Array], Array]


class Weighted(nn.Module):
    """Sum of named terms.

    Attributes:
      terms: {name: objective}.
      weights: {name: float or schedule}; a schedule maps the step, int [], to a weight.
      unlabelled: whether some training images have no label (-1). A term that reads labels without
        declaring it is then refused.

    Returns:
      The loss, a scalar in float32, and {name: mean of the term before its weight}. For a cohort of
      students, logits [k, b, c], the loss is the sum of the peers' losses, so that each peer gets
      the gradient of its own loss; the terms are means over peers.

    Raises:
      InputError: a term of another shape than [] or [b], or [k, b] of a cohort; logits of student
        and teacher that do not fit, see `check_view`.
    """

    terms: Mapping[str, nn.Module]
    weights: Mapping[str, Weight]
    unlabelled: bool = False

    def __call__(self, view: View) -> tuple[Float[Array, ""], dict[str, Array]]:
        check_view(view)
        with jax.default_matmul_precision("float32"):  # whatever that of the networks is
            losses = {
                name: labels.mean_of_term(name, term, view, _evaluated, self.unlabelled)
                for name, term in self.terms.items()
            }
        weight = lambda w: w(view.step) if callable(w) else w
        total = sum(weight(self.weights[name]) * loss for name, loss in losses.items())
        peers = view.student.logits.shape[:-2]
        return jnp.asarray(math.prod(peers) * total, jnp.float32), losses


def _evaluated(name: str, term: nn.Module, view: View) -> Array:
    """The term's loss, [] or [b], or [k, b] where the student is a cohort.

    Raises:
      InputError: another shape. For a cohort: the term compares examples, or is for one student.
    """
    lifted = isinstance(term, PerTeacher | PerGroup)
    if isinstance(view.teacher, Outputs) and _is_stacked(view.teacher) and not lifted:
        # Several teachers have no one target: a term that asks for it is refused.
        view = dataclasses.replace(view, teacher=(view.teacher,))
    refused = InputError(
        f"config.objective.{name} gives no loss for each peer of a cohort and each example: it "
        "compares examples, or is for one student. Take the term out, or train separate students "
        "with config.seeds."
    )
    try:
        loss = term(view)
    except (TypeError, ValueError) as error:  # shapes that do not fit together
        if isinstance(error, InputError) or not view.student.peers:
            raise
        raise refused from error
    if view.student.peers:
        if jnp.shape(loss) != view.student.logits.shape[:-1]:
            raise refused
        return loss
    return _of_examples(name, loss, view)


def _of_examples(name: str, loss: Any, view: View) -> Array:
    """The loss of one student, if it is a scalar or one number per example. Raises InputError."""
    shape, count = jnp.shape(loss) if hasattr(loss, "shape") else None, _examples(view)
    if shape in ((), (count,)):
        return loss
    what = f"an array of shape {list(shape)}" if shape is not None else repr(type(loss).__name__)
    hint = ""
    if shape is not None and shape[:1] == (count,):
        hint = " Sum over the last axes: a divergence is a sum over the classes, not their mean."
    raise InputError(
        f"objective term {name!r} returns {what} for {count} examples; expected [{count}], one "
        f"number per example, or a scalar.{hint}"
    )


def _examples(view: View) -> int:
    """The number of examples in the batch: that of its labels."""
    label = view.batch.get("label")
    return view.student.logits.shape[-2] if label is None else len(label)


def _is_stacked(teacher: Any) -> bool:
    """Whether these are outputs of several teachers that are not averaged."""
    return isinstance(teacher, tuple) or (
        isinstance(teacher, Outputs) and not teacher.peers and np.ndim(teacher.logits) == 3
    )


def check_view(view: View) -> None:
    """Compares the logits of student and teacher with the batch, and with one another.

    Of one student they are [b, c], of a cohort that says so (`Outputs.peers`) [k, b, c]; b is the
    number of labels, and c that of the classes of `view.tables`, where they say it. The teacher's
    are [b, c], or [k, b, c] of the cohort's own mean; [m, b, c] of members. Nothing is broadcast.

    Raises:
      InputError: other shapes, or integers.
    """
    logits, k, b = view.student.logits, view.student.peers, _examples(view)
    shape, c = tuple(logits.shape), logits.shape[-1] if logits.ndim else 0
    axes = f"[{k}, {b}, classes]" if k else f"[{b}, classes]"
    if shape[:-1] != ((k, b) if k else (b,)):
        cohort = "" if k else " Several students are a cohort, such as kd.models.Cohort."
        raise InputError(
            f"the student's logits have the shape {list(shape)} for {b} labels; expected {axes}."
            + (cohort if len(shape) > 2 else "")
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise InputError(f"the student's logits are {logits.dtype}; expected floating point.")
    counts = view.tables.get("count")
    if counts is not None and len(counts) != c:
        raise InputError(
            f"the student's logits have the shape {list(shape)} and the data have {len(counts)} "
            f"classes; expected {axes[:-8]}{len(counts)}]. Give the network as many outputs."
        )
    _check_labels(view.batch.get("label"), c)
    _check_teacher(view.teacher, k, (b, c))


def _check_labels(label: Any, c: int) -> None:
    """Raises InputError for labels beyond the student's classes; not where they are traced."""
    if not isinstance(label, np.ndarray | jax.Array) or isinstance(label, jax.core.Tracer):
        return
    if not label.size or not getattr(label, "is_fully_addressable", True):
        return
    low, high = int(np.asarray(label).min()), int(np.asarray(label).max())
    if low < -1 or high >= c:
        raise InputError(
            f"labels are {low} to {high}, and the student has {c} outputs; expected labels from 0 "
            f"to {c - 1}, or -1 where it is unknown."
        )


def _check_teacher(teacher: Any, k: int, expected: tuple[int, int]) -> None:
    """Raises InputError for a teacher's logits of other examples or classes than the student's."""
    b, c = expected
    wanted = f"[{b}, {c}], or [members, {b}, {c}] of several"
    if isinstance(teacher, tuple):
        shapes = [tuple(group.logits.shape) for group in teacher]
        fits = all(len(shape) == 3 and shape[1:] == expected for shape in shapes)
        shown = " and ".join(str(list(shape)) for shape in shapes)
    elif isinstance(teacher, Mixture):
        shape, weights = tuple(teacher.members.shape), tuple(teacher.weights.shape)
        fits = len(shape) == 3 and shape[1:] == expected and weights in (shape[:1], shape[:2])
        shown = f"{list(shape)}, with weights {list(weights)}"
        wanted = f"[members, {b}, {c}], with weights [members] or [members, {b}]"
    elif isinstance(teacher, Outputs) and teacher.logits is not None:
        shape = tuple(teacher.logits.shape)
        fits = shape[-2:] == expected and len(shape) <= 3
        if teacher.peers:
            fits, wanted = shape == (k, *expected), f"[{k}, {b}, {c}], those of the same cohort"
        shown = str(list(shape))
    else:
        return  # none, or an object of a user's own that only the user's objective reads
    if not fits:
        raise InputError(
            f"the teacher's logits have the shape {shown}, and the student's are those of {b} "
            f"examples and {c} classes; expected {wanted}. Teacher and student must have the same "
            "classes, in the same order."
        )


def check_objective(objective: Any) -> None:
    """Raises InputError for what is no Flax module."""
    if not isinstance(objective, nn.Module):
        name = objective.__name__ if isinstance(objective, type) else repr(objective)
        raise InputError(
            f"the objective must be a Flax linen module, such as kd.objective.Weighted({{'ce': "
            f"kd.objectives.CE()}}, {{'ce': 1.0}}), not {name}."
        )


def check_loss(returned: Any) -> tuple[Array, dict[str, Array]]:
    """What an objective returned, if it is (loss, {term: value}) of scalars. Raises InputError."""
    scalar = lambda value: jnp.ndim(value) == 0 and hasattr(value, "dtype")
    is_pair = isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)
    if is_pair and all(map(scalar, (returned[0], *returned[1].values()))):
        return returned
    shapes = jax.tree.map(lambda x: list(jnp.shape(x)), returned)
    raise InputError(
        f"the objective returns arrays of shape {shapes}; expected (loss, {{term: value}}), all of "
        "them scalars. A term that returns one number per example is weighted and averaged by "
        "kd.objective.Weighted({'name': term}, {'name': weight})."
    )


class PerTeacher(nn.Module):
    """Weighted mean of an objective over m stacked teachers.

    Each teacher has its own copy of the objective's parameters and other collections.

    Attributes:
      objective: for one teacher.
      weights: of the teachers, [m], of sum one; None: all equal.

    Raises:
      InputError: the teacher's outputs are not stacked, or the objective returns another shape than
        [] or [b], or [k, b] of a cohort.
    """

    objective: nn.Module
    weights: Sequence[float] | None = None

    def __call__(self, view: View) -> Float[Array, "*b"]:
        name = str(next(iter(self.path), type(self.objective).__name__)).removeprefix("terms_")
        if not isinstance(view.teacher, tuple) and not _is_stacked(view.teacher):
            view.target(1.0)  # raises where there is no teacher
            raise InputError(
                f"objective term {name!r} is lifted to several teachers, and there is one target: "
                "say reduce = 'each', or take kd.objective.PerTeacher away."
            )

        def of_one_teacher(module: nn.Module, teacher, variables) -> Array:
            of_it = {"teacher": teacher, "teacher_variables": variables, "teacher_fn": None}
            one = dataclasses.replace(view, **of_it)
            loss = module(one)
            return loss if view.student.peers else _of_examples(name, loss, view)

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
