"""TinyBERT: hidden states and attention scores of a transformer's blocks, by a map of layers."""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import Dense, einsum, mismatch, pair, teacher_outputs
from kd.ranges import Length, Natural, NonNegative
from kd.types import Outputs, View


def attention_scores(
    query: Float[Array, "b t h k"], key: Float[Array, "b t h k"]
) -> Float[Array, "b h t t"]:
    """Q K^T / sqrt(k) of each head, before the softmax."""
    scores = einsum("bthk,bshk->bhts", query.astype(jnp.float32), key.astype(jnp.float32))
    return scores * query.shape[-1] ** -0.5


def token_mse(student: Float[Array, "b ..."], teacher: Float[Array, "b ..."]) -> Float[Array, " b"]:
    """The mean of (student - teacher)^2 over all numbers of an example.

    >>> token_mse(jnp.ones((1, 2, 3)), jnp.zeros((1, 2, 3)))
    Array([1.], dtype=float32)
    """
    difference = student.astype(jnp.float32) - teacher.astype(jnp.float32)
    return jnp.mean(difference**2, axis=tuple(range(1, difference.ndim)))


def uniform_map(student: int, teacher: int) -> tuple[tuple[int, int], ...]:
    """Pairs (student's block, teacher's block): block m learns from block m teacher / student.

        >>> uniform_map(4, 12)
        ((1, 3), (2, 6), (3, 9), (4, 12))

    Raises:
      InputError: the student's number of blocks does not divide the teacher's.
    """
    if not student or teacher % student:
        raise InputError(
            f"TinyBERT maps the student's {student} blocks evenly onto the teacher's {teacher}, "
            "which they do not divide. Name the pairs in layers, such as layers = [[1, 2], [2, 5]],"
            " the student's block first."
        )
    return tuple((m, m * (teacher // student)) for m in range(1, student + 1))


class TinyBERT(nn.Module):
    """Sum over pairs of blocks of the squared distances of attention scores and of hidden states.

    Jiao, Yin, Shang, Jiang, Chen, Li, Wang, Liu. TinyBERT: Distilling BERT for Natural Language
    Understanding. Findings of EMNLP 2020. https://arxiv.org/abs/1909.10351, Eq. 7 to 9: of each
    pair MSE(A_student, A_teacher), the scores before the softmax, and MSE(H_student W, H_teacher);
    of the embedded tokens the latter too. One learned layer W, with a bias, serves all blocks, as
    in the public code. The term on logits (Eq. 10) is `kd.KD`.

    Both are transformers with the features `tokens{i}`, `query{i}` and `key{i}`, such as
    `kd.models.ViT`, with as many tokens and, where `attention` is not 0, as many heads.

    Attributes:
      layers: pairs (student's block, teacher's block), from 1; 0 are the embedded tokens, which
        have no attention. None: all blocks evenly, see `uniform_map`, and the embedded tokens.
      attention: weight of the attention scores.
      hidden: weight of the hidden states.

    Raises:
      InputError: the networks do not fit one another, or the map of layers does not fit them.
    """

    layers: Annotated[Sequence[Sequence[Natural]], Length(1)] | None = None
    attention: NonNegative = 1.0
    hidden: NonNegative = 1.0

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        project = None
        losses = []
        for student, teacher in self._pairs(view):
            if self.hidden:
                s, t = pair(view, (f"tokens{student}", f"tokens{teacher}"))
                _check_tokens(s, t)
                project = project or Dense(t.shape[-1], name="projection")
                losses.append(self.hidden * token_mse(project(s), t))
            if self.attention and student and teacher:
                scores = self._scores(view, student, teacher)
                losses.append(self.attention * token_mse(*scores))
        if not losses:
            raise InputError("TinyBERT: no pair of layers is compared. Name one in layers.")
        return jnp.sum(jnp.stack(losses), axis=0)

    def _pairs(self, view: View) -> Sequence[Sequence[int]]:
        counts = [_blocks(outputs) for outputs in (view.student, teacher_outputs(view))]
        if not all(counts):
            raise mismatch(view, "TinyBERT needs transformers, with the features query1, key1, ...")
        if self.layers is None:
            return ((0, 0), *uniform_map(*counts))
        for layers in self.layers:
            if len(layers) != 2 or any(n > most for n, most in zip(layers, counts, strict=True)):
                raise InputError(
                    f"TinyBERT: layers has {list(layers)}; expected pairs of a block of the "
                    f"student, 1 to {counts[0]}, and one of the teacher, 1 to {counts[1]}, or 0 "
                    "for the embedded tokens."
                )
        return self.layers

    def _scores(self, view: View, student: int, teacher: int) -> list[Array]:
        queries = pair(view, (f"query{student}", f"query{teacher}"))
        keys = pair(view, (f"key{student}", f"key{teacher}"))
        _check_tokens(*queries)
        heads = [query.shape[2] for query in queries]
        if heads[0] != heads[1]:
            raise InputError(
                f"TinyBERT compares attention head by head: the student has {heads[0]} and the "
                f"teacher {heads[1]}. Give the student as many, or set attention = 0."
            )
        return [attention_scores(q, k) for q, k in zip(queries, keys, strict=True)]


def _check_tokens(student: Array, teacher: Array) -> None:
    if student.shape[1] != teacher.shape[1]:
        raise InputError(
            f"TinyBERT compares tokens with tokens: the student has {student.shape[1]} and the "
            f"teacher {teacher.shape[1]}. Both need the same patches and the same tokens beside "
            "them."
        )


def _blocks(outputs: Outputs) -> int:
    """The number of a transformer's blocks."""
    return sum(name.startswith("query") for name in outputs.features)
