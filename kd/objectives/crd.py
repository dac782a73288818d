"""Contrastive representation distillation: the student's embedding of an image is that which fits
the teacher's of the same image.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from kd.errors import InputError
from kd.features import Dense, Name, einsum, flat, pair, require, unit
from kd.types import View

EPS = 1e-7


def nce(scores: Float[Array, "b k"], num_data: int) -> Float[Array, " b"]:
    """Noise-contrastive loss of one positive against k negatives, in nats: -log h(positive) - sum
    log(1 - h(negative)).

    h(s) = s / (s + k / n + 1e-7) and 1 - h(s) = (k / n) / (s + k / n + 1e-7), the 1e-7 as in the
    public code.

    Args:
      scores: exp(similarity / temperature) over its normaliser, positive; the positive pair's
        first, so [b, 1 + k].
      num_data: n, the number of training images.

    Tian, Krishnan, Isola. Contrastive Representation Distillation. ICLR 2020.
    https://arxiv.org/abs/1910.10699, Eq. 18 and 19.
    """
    scores = scores.astype(jnp.float32)
    noise = (scores.shape[-1] - 1) / num_data
    log_all = jnp.log(scores + (noise + EPS))
    positive = jnp.log(scores[:, 0]) - log_all[:, 0]
    return -positive - jnp.sum(jnp.log(noise) - log_all[:, 1:], axis=-1)


def draw_negatives(
    key: PRNGKeyArray, label: Int[Array, " b"], tables: Mapping[str, Any], k: int
) -> Int[Array, "b k"]:
    """k indices of training images of other classes than `label`, each uniform among those, drawn
    with replacement.

    The public code draws without replacement, and in the loader. Here the draw is on the device, in
    O(n) memory for the tables.

    Args:
      key: randomness.
      label: class of each example.
      tables: `order`, `start` and `count` of `kd.data.base.class_tables`.
      k: number of negatives for each example.
    """
    order, start, count = (jnp.asarray(tables[name]) for name in ("order", "start", "count"))
    if count.shape[0] < 2:
        raise InputError("CRD needs two classes or more: negatives are of other ones.")
    start, count = start[label][:, None], count[label][:, None]
    place = jax.random.randint(key, (label.shape[0], k), 0, order.shape[0] - count)
    return order[place + jnp.where(place >= start, count, 0)]


class CRD(nn.Module):
    """`nce` of the student against a memory of the teacher's embeddings plus the same with the
    sides exchanged.

    Both features pass a linear layer, trained, the teacher's too, to length 1. Two banks [n, dim]
    remember the embeddings of all training images; the image's own row moves half the way at each
    step. The normaliser is the mean score of the first batch times n, constant from then on, as in
    the authors' code.

    A batch must not hold an index twice: one of the two updates would be lost. Scores are taken of
    the whole bank and then picked, [b, n] numbers, which is less memory than to gather [b, k, dim]
    rows while n < k dim (2 million by default).

    Attributes:
      feature: pair of features.
      dim: width of the embeddings.
      num_negatives: for each example.
      temperature: of the scores.
      momentum: share of its old self in an updated row.
    """

    feature: Name = "pooled"
    dim: int = 128
    num_negatives: int = 16384
    temperature: float = 0.07
    momentum: float = 0.5

    needs = ("tables.order", "tables.start", "tables.count", "batch.index")

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

        def side(name: str, anchor: Array, own: Array) -> Array:
            """Loss of `anchor` against the bank `name`, in which the images' rows then move towards
            `own`.
            """
            bound = math.sqrt(3 / self.dim)
            bank = self.variable(
                "memory",
                f"{name}_bank",
                lambda: jax.random.uniform(
                    self.make_rng("params"), (n, self.dim), minval=-bound, maxval=bound
                ),
            )
            # Zero says that no batch has set it yet.
            normalizer = self.variable("memory", f"{name}_normalizer", jnp.zeros, ())
            cosine = jnp.take_along_axis(einsum("bd,nd->bn", anchor, bank.value), rows, axis=1)
            scores = jnp.exp(cosine / self.temperature)
            constant = jnp.where(
                normalizer.value > 0, normalizer.value, jax.lax.stop_gradient(jnp.mean(scores)) * n
            )
            if not self.is_initializing():
                old = bank.value[index]
                new = unit(self.momentum * old + (1 - self.momentum) * own)
                bank.value = bank.value.at[index].set(jax.lax.stop_gradient(new))
                normalizer.value = constant
            return nce(scores / constant, n)

        return side("teacher", student, teacher) + side("student", teacher, student)
