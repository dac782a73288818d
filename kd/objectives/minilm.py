"""MiniLMv2: relations between the queries, keys and values of a transformer's tokens."""

import math
from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import einsum, mismatch, pair, teacher_outputs
from kd.ranges import Depth, Length, Natural, NonNegative
from kd.types import Outputs, View

VECTORS = ("query", "key", "value")


def relation_kl(
    student: Float[Array, "b t d"], teacher: Float[Array, "b t2 d2"], heads: int
) -> Float[Array, " b"]:
    """1 / (heads t) sum over heads and tokens of KL(A_teacher || A_student), in nats.

    A = softmax(X_r X_r^T / sqrt(d / heads)) [t, t] are the relations of head r, which reads columns
    r d / heads to (r + 1) d / heads of the vectors X of all tokens; widths may differ.

    Wang, Bao, Huang, Dong, Wei. MiniLMv2: Multi-Head Self-Attention Relation Distillation for
    Compressing Pretrained Transformers. Findings of ACL 2021. https://arxiv.org/abs/2012.15828, Eq.
    5 to 7.

        >>> x = jnp.eye(3)[None]
        >>> relation_kl(2 * x, x, heads=1), relation_kl(x, x, heads=3)
        (Array([0.345], dtype=float32), Array([0.], dtype=float32))

    Raises:
      InputError: the heads do not divide a width, or the networks have other numbers of tokens.
    """
    if student.shape[1] != teacher.shape[1]:
        raise InputError(
            f"MiniLM compares tokens with tokens: the student has {student.shape[1]} and the "
            f"teacher {teacher.shape[1]}. Both need the same patches and the same tokens beside "
            "them."
        )
    for who, x in (("student", student), ("teacher", teacher)):
        if x.shape[-1] % heads:
            fitting = math.gcd(student.shape[-1], teacher.shape[-1])
            raise InputError(
                f"MiniLM: {heads} relation heads do not divide the {who}'s width of "
                f"{x.shape[-1]}. Set heads to a divisor of {fitting}."
            )
    log_p, log_q = (_log_relations(x, heads) for x in (student, teacher))
    divergence = jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1)  # [b, heads, t]
    return jnp.mean(divergence, axis=(1, 2))


def _log_relations(x: Float[Array, "b t d"], heads: int) -> Float[Array, "b r t t"]:
    b, t, d = x.shape
    x = x.astype(jnp.float32).reshape(b, t, heads, d // heads)
    return jax.nn.log_softmax(einsum("bthk,bshk->bhts", x, x) / math.sqrt(d // heads))


class MiniLM(nn.Module):
    """Sum of `relation_kl` of queries, keys and values, of one block of each network.

    Both are transformers with the features `query{i}`, `key{i}` and `value{i}` [b, t, heads, d /
    heads] of block i, such as `kd.models.ViT`; their numbers of heads, blocks and widths may
    differ.

    Attributes:
      heads: relation heads; 48 for a base and 64 for a large teacher in the paper.
      student_block: number of the student's block, from 1; 0: the last, as in the paper.
      teacher_block: of the teacher; 0: the last, as in the paper for base sizes (of large ones with
        24 blocks it takes the 19th or 21st).
      weights: of the relations of queries, keys and values.

    Raises:
      InputError: a network has no such block, or see `relation_kl`.
    """

    heads: Depth = 12
    student_block: Natural = 0
    teacher_block: Natural = 0
    weights: Annotated[Sequence[NonNegative], Length(3, 3)] = (1.0, 1.0, 1.0)

    def __call__(self, view: View) -> Float[Array, " b"]:
        student = self.student_block or _blocks(view.student)
        teacher = self.teacher_block or _blocks(teacher_outputs(view))
        if not student or not teacher:
            raise mismatch(view, "MiniLM needs transformers, with the features query1, key1, ...")
        losses = []
        for weight, name in zip(self.weights, VECTORS, strict=True):
            s, t = pair(view, (f"{name}{student}", f"{name}{teacher}"))
            s, t = (x.reshape(*x.shape[:2], -1) for x in (s, t))
            losses.append(weight * relation_kl(s, t, self.heads))
        return jnp.sum(jnp.stack(losses), axis=0)


def _blocks(outputs: Outputs) -> int:
    """The number of a transformer's blocks."""
    return sum(name.startswith("query") for name in outputs.features)
