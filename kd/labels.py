"""Labels of a batch, some of which may be unknown: the label -1.

A data set may have few labels and many images. What reads labels then counts the labelled images
alone: a term's mean and the accuracy are over them. Images without a label still teach the student
what the teacher answers.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from kd.errors import InputError
from kd.ranges import Length, NonNegative
from kd.types import Batch, View

type ClassWeights = (
    str | Annotated[Sequence[NonNegative], Length(2, 2**24)] | Mapping[str, NonNegative] | None
)
"""What `class_weights` of an objective may be, see `kd.data.class_weights.resolve`."""

NEED = "batch.label"
"""What an objective that reads labels declares in its `needs`."""


def known(label: Int[Array, "..."]) -> Bool[Array, "..."]:
    """Where the label is known."""
    return label >= 0


def mean_over_known(
    values: Float[Array, "*k b"],
    label: Int[Array, " b"],
    without: float = 0.0,
    axis_name: str | None = None,
    every: Int[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """The mean of `values` over the labelled examples; `without` where the batch has none.

    With all labels known it is the mean of all, bit for bit: that mean is multiplied by b / (number
    of labels), which is 1.

    Args:
      values: one for each example.
      label: of the examples.
      without: the result without a label.
      axis_name: under `jax.pmap`, the axis over which the examples are split.
      every: labels of all examples of the batch that `values` are a part of. The mean over the
        parts, weighted by their sizes, is then that of the batch, wherever its labels are.

        >>> mean_over_known(jnp.array([1.0, 5.0, 3.0]), jnp.array([0, -1, 2]))
        Array(2., dtype=float32)
    """
    is_known = known(label)
    mean = jnp.mean(jnp.where(is_known, values, 0.0))
    counted = label if every is None else every
    count, examples = jnp.sum(known(counted)), len(counted)
    if axis_name:
        mean = jax.lax.pmean(mean, axis_name)
        count, examples = jax.lax.psum((count, examples), axis_name)
    return jnp.where(count > 0, mean * (examples / jnp.maximum(count, 1)), without)


def reads_labels(term: nn.Module) -> bool:
    """Whether an objective, or the one that it lifts to several teachers, declares `NEED`."""
    for inner in ("objective", "objectives"):
        lifted = getattr(term, inner, None)
        lifted = lifted[0] if isinstance(lifted, list | tuple) and lifted else lifted
        if isinstance(lifted, nn.Module):
            return reads_labels(lifted)
    return NEED in getattr(term, "needs", ())


def with_any_label(batch: Batch) -> Batch:
    """The batch with class 0 in place of unknown labels, so that every loss is finite.

    What an objective returns for such an example does not count: see `mean_over_known`.
    """
    return {**batch, "label": jnp.maximum(batch["label"], 0)}


class WithoutLabels(dict):
    """A batch in which `label` may not be read, as some labels are unknown.

    It is what an objective sees that does not declare that it reads labels.
    """

    def __init__(self, batch: Batch, term: str):
        super().__init__({k: v for k, v in batch.items() if k != "label"})
        self._term = term

    def __missing__(self, key: str) -> Array:
        if key != "label":
            raise KeyError(key)
        raise InputError(
            f"config.objective.{self._term} reads labels, and some training images have none. An "
            'objective that returns one number per example says so by `needs = ("batch.label",)`; '
            "those of images without a label are then left out. Or take the term out, or keep "
            "the labelled images alone: config.data.unlabelled = 'drop'."
        )


def mean_of_term(
    name: str,
    term: nn.Module,
    view: View,
    evaluate: Callable[[str, nn.Module, View], Array],
    unlabelled: bool,
) -> Float[Array, ""]:
    """A term's mean over the batch, or over its labelled examples if the term reads labels.

    Args:
      name: of the term.
      term: the objective.
      view: what it looks at.
      evaluate: `evaluate(name, term, view) -> loss`, [], [b] or [k, b].
      unlabelled: whether some training images have no label.

    Raises:
      InputError: a term that cannot do without the label of some example.
    """
    see = lambda batch: dataclasses.replace(view, batch=batch)
    if not reads_labels(term):
        batch = WithoutLabels(view.batch, name) if unlabelled else view.batch
        return jnp.mean(evaluate(name, term, see(batch)).astype(jnp.float32))
    loss = evaluate(name, term, see(with_any_label(view.batch))).astype(jnp.float32)
    if loss.ndim:
        return mean_over_known(loss, view.batch["label"], every=view.labels)
    if unlabelled:
        raise InputError(
            f"config.objective.{name} reads labels and compares examples, and some training images "
            "have no label. Take it out, or keep the labelled images alone: "
            "config.data.unlabelled = 'drop'."
        )
    return loss


def class_weights(weights: Any, num_classes: int) -> Float[Array, " c"]:
    """Class weights as an objective computes with them, numbers.

    Raises:
      InputError: they are "balanced" or a dict still, which only the labels of a data set turn into
        numbers; or there are more or fewer than classes.
    """
    if isinstance(weights, str | Mapping):
        raise InputError(
            f"class_weights = {weights!r}: in a training loop of your own give numbers, those of "
            "kd.data.class_weights.resolve."
        )
    if len(weights) != num_classes:
        raise InputError(
            f"class_weights: expected {num_classes} numbers, one for each class, got "
            f"{len(weights)}."
        )
    return jnp.asarray(weights, jnp.float32)
