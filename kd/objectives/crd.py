"""Contrastive representation distillation (CRD): an image's two embeddings match."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from kd.errors import InputError
from kd.features import Dense, Name, einsum, flat, pair, require, unit
from kd.ranges import Probability, Range, Temperature, Width
from kd.types import View

EPS = 1e-7


def nce(scores: Float[Array, "b k"], num_data: int) -> Float[Array, " b"]:
    """Noise-contrastive loss of one positive pair against k negative pairs, in nats, [b].

        -log h(positive) - sum log(1 - h(negative))

    with h(s) = s / (s + k / n + 1e-7) and 1 - h(s) = (k / n) / (s + k / n + 1e-7), the 1e-7 as in
    the public code.

    Tian, Krishnan, Isola. Contrastive Representation Distillation. ICLR 2020.
    https://arxiv.org/abs/1910.10699, Eq. 18 and 19.

    Args:
      scores: exp(similarity / temperature) over its normaliser, positive, [b, 1 + k]; the positive
        pair comes first.
      num_data: n, the number of training images.
    """
    scores = scores.astype(jnp.float32)
    noise = (scores.shape[-1] - 1) / num_data
    log_all = jnp.log(scores + (noise + EPS))
    positive = jnp.log(scores[:, 0]) - log_all[:, 0]
    return -positive - jnp.sum(jnp.log(noise) - log_all[:, 1:], axis=-1)


def draw_negatives(
    key: PRNGKeyArray, label: Int[Array, " b"], tables: Mapping[str, Any], k: int
) -> Int[Array, "b k"]:
    """k indices of training images of other classes than `label`, uniform and with replacement.

    The public code draws without replacement, in the loader. Here the draw is on the device and
    needs O(n) memory for the tables.

    Args:
      key: randomness.
      label: class of each example.
      tables: `order`, `start` and `count` of `kd.data.base.class_tables`.
      k: number of negatives for each example.

    Raises:
      InputError: there is only one class. Of traced tables it is not seen that only one class has
        images: runs compare `least_classes` with the labels before they begin.
    """
    order, start, count = (jnp.asarray(tables[name]) for name in ("order", "start", "count"))
    known = not isinstance(count, jax.core.Tracer)
    if count.shape[0] < 2 or (known and np.count_nonzero(np.asarray(count)) < 2):
        raise InputError(
            "CRD needs images of two classes or more: negatives are of other classes than the "
            "image."
        )
    start, count = start[label][:, None], count[label][:, None]
    place = jax.random.randint(key, (label.shape[0], k), 0, order.shape[0] - count)
    return order[place + jnp.where(place >= start, count, 0)]


class CRD(nn.Module):
    """`nce` of the student against a memory of the teacher's embeddings, plus the reverse.

    Both features pass a trained linear layer (the teacher's too) and are scaled to length 1. Two
    banks [n, dim] hold the embeddings of all training images; each step moves the rows of its batch
    half the way. The normaliser is the mean score of the first batch times n, constant from then
    on, as in the authors' code.

    An index must not occur twice in a batch: one of the two updates would be lost. Scores are
    computed for the full bank and then picked, [b, n] numbers, which is less memory than gathering
    [b, k, dim] rows while n < k dim (2 million by default).

    Attributes:
      feature: pair of features.
      dim: width of the embeddings.
      num_negatives: k, for each example.
      temperature: of the scores.
      momentum: weight of the old row in an updated row.
    """

    feature: Name = "pooled"
    dim: Width = 128
    num_negatives: Annotated[int, Range(1, 2**24)] = 16384
    temperature: Temperature = 0.07
    momentum: Probability = 0.5

    needs = ("tables.order", "tables.start", "tables.count", "batch.index")
    least_classes = 2  # see `kd.objective`
    every_label = True

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        require(view, *self.needs)
        student, teacher = map(flat, pair(view, self.feature))
        student = unit(Dense(self.dim, name="embed_student")(student))
        teacher = unit(Dense(self.dim, name="embed_teacher")(teacher))
        negatives = draw_negatives(
            self.make_rng("objective"), view.batch["label"], view.tables, self.num_negatives
        )
        index, n = view.batch["index"], view.tables["order"].shape[0]
        rows = jnp.concatenate([index[:, None], negatives], axis=1)

        def side(name: str, anchor: Array, positive: Array) -> Array:
            """Loss of `anchor` against a bank, whose rows of the batch then move to `positive`."""
            bound = math.sqrt(3 / self.dim)
            bank = self.variable(
                "memory",
                f"{name}_bank",
                lambda: jax.random.uniform(
                    self.make_rng("params"), (n, self.dim), minval=-bound, maxval=bound
                ),
            )
            # Zero: no batch has set it yet.
            normalizer = self.variable("memory", f"{name}_normalizer", jnp.zeros, ())
            cosine = jnp.take_along_axis(einsum("bd,nd->bn", anchor, bank.value), rows, axis=1)
            scores = jnp.exp(cosine / self.temperature)
            constant = jnp.where(
                normalizer.value > 0, normalizer.value, jax.lax.stop_gradient(jnp.mean(scores)) * n
            )
            if not self.is_initializing():
                old = bank.value[index]
                new = unit(self.momentum * old + (1 - self.momentum) * positive)
                bank.value = bank.value.at[index].set(jax.lax.stop_gradient(new))
                normalizer.value = constant
            return nce(scores / constant, n)

        return side("teacher", student, teacher) + side("student", teacher, student)
