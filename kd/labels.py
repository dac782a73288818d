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

SHARE = "share"
"""The entry of a batch whose images are mixed, see `kd.data.mix`."""


def known(label: Int[Array, "..."]) -> Bool[Array, "..."]:
    """Where the label is known."""
    return label >= 0


def of_labels(
    loss: Callable[[Int[Array, " b"]], Float[Array, "*k b"]], batch: Batch
) -> Float[Array, "*k b"]:
    """loss(label); of mixed images share loss(label) + (1 - share) loss(label of the partner).

    For cross entropy this is the loss with the mixed target (Zhang et al. 2018,
    https://arxiv.org/abs/1710.09412, whose public code computes it in this way).

    Args:
      loss: of labels to one number for each example.
      batch: with `label`, and where images are mixed with `partner_label` and `share`.

        >>> batch = {"label": jnp.array([0]), "partner_label": jnp.array([4])}
        >>> of_labels(lambda label: 1.0 * label, batch | {"share": jnp.array([0.75])})
        Array([1.], dtype=float32)
    """
    value = loss(batch["label"])
    if SHARE not in batch:
        return value
    share = jnp.broadcast_to(batch[SHARE], value.shape)
    return share * value + (1 - share) * loss(batch["partner_label"])


def of_pairs(batch: Batch) -> Int[Array, " b"]:
    """The labels of a batch; of mixed images -1 where one of the two labels is unknown."""
    if "partner_label" not in batch:
        return batch["label"]
    return jnp.where(known(batch["partner_label"]), batch["label"], -1)


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


def _unlifted(term: nn.Module) -> nn.Module:
    """An objective, or the one that it lifts to several teachers."""
    for inner in ("objective", "objectives"):
        lifted = getattr(term, inner, None)
        lifted = lifted[0] if isinstance(lifted, list | tuple) and lifted else lifted
        if isinstance(lifted, nn.Module):
            return _unlifted(lifted)
    return term


def reads_labels(term: nn.Module) -> bool:
    """Whether an objective, or the one that it lifts to several teachers, declares `NEED`."""
    return NEED in getattr(_unlifted(term), "needs", ())


def mixes(term: nn.Module) -> bool:
    """Whether an objective that reads labels declares that it mixes those of mixed images."""
    return getattr(_unlifted(term), "mixes", False)


def refused_pairs(name: str, term: nn.Module) -> InputError:
    """That a term wants one class, or one image, for each example, and images are mixed."""
    method = type(_unlifted(term)).__name__
    place = f"config.objective.{name}" if name else "objective"
    return InputError(
        f"{place}: {method} reads one class or one image of each example, and config.mix shows "
        "mixtures of two images. Leave config.mix out, or the term. Terms of the labels that mix "
        "them are ce.CE, weighted_ce.WeightedCE and focal.Focal, and kd.KD reads none."
    )


def with_any_label(batch: Batch) -> Batch:
    """The batch with class 0 in place of unknown labels, so that every loss is finite.

    What an objective returns for such an example does not count: see `mean_over_known`.
    """
    names = [name for name in ("label", "partner_label") if name in batch]
    return {**batch, **{name: jnp.maximum(batch[name], 0) for name in names}}


class WithoutLabels(dict):
    """A batch in which `label` may not be read, as some labels are unknown or images are mixed.

    It is what an objective sees that does not declare that it reads labels.
    """

    def __init__(self, batch: Batch, refusal: InputError):
        super().__init__({k: v for k, v in batch.items() if k != "label"})
        self._refusal = refusal

    def __missing__(self, key: str) -> Array:
        if key != "label":
            raise KeyError(key)
        raise self._refusal


def _undeclared(term: str) -> InputError:
    return InputError(
        f"config.objective.{term} reads labels, and some training images have none. An "
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
      InputError: a term that cannot do without the label of some example, or that reads one label
        of each where images are mixed.
    """
    mixed = SHARE in view.batch
    if mixed and reads_labels(term) and not mixes(term):
        raise refused_pairs(name, term)
    see = lambda batch: dataclasses.replace(view, batch=batch)
    if not reads_labels(term):
        batch = view.batch
        if mixed or unlabelled:
            batch = WithoutLabels(batch, refused_pairs(name, term) if mixed else _undeclared(name))
        return jnp.mean(evaluate(name, term, see(batch)).astype(jnp.float32))
    loss = evaluate(name, term, see(with_any_label(view.batch))).astype(jnp.float32)
    if loss.ndim:
        return mean_over_known(loss, of_pairs(view.batch), every=view.labels)
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
